"""ExaBGP's helper process: what ExaBGP tells goes to the end of one file, what is written to a FIFO goes to ExaBGP.

It ends with ExaBGP: its standard input does.
"""

import os
import select
import sys

SIZE = 65536
COMMANDS, EVENTS = sys.argv[1:3]

# Read and write: else it would be at its end whenever nobody writes.
commands = os.open(COMMANDS, os.O_RDWR)
events = os.open(EVENTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
while True:
    readable, _, _ = select.select([0, commands], [], [])
    for source in readable:
        data = os.read(source, SIZE)
        if not data:
            sys.exit()
        target = events if source == 0 else 1
        while data:
            data = data[os.write(target, data) :]
