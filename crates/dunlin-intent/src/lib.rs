//! Cluster facts in plain types, turned into peers, originations and problems.
