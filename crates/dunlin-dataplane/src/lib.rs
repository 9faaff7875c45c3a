//! What the kernel should hold against what it is believed to hold, and the least operations between.
