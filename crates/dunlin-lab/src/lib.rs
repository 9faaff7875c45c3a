//! Virtual clusters in network namespaces.
