//! Adj-RIB-In, decision process, Loc-RIB, Adj-RIB-Out.
