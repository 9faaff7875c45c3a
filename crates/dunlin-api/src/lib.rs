//! The admin API: requests, answers, client.
