mod bench;
mod calm;
mod faults;
mod framing;
mod net;
mod pair;
mod random;
mod table;
