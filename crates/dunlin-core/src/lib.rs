//! The pure engine: peer set, intent to BGP to FIB, the restart gate.
