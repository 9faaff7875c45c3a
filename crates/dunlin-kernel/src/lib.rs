//! rtnetlink, nf_tables, sysctls, link and address facts.
