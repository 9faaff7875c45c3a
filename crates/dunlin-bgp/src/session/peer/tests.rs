mod net;
mod pair;
