mod behaviour;
mod failover;
mod fake;
mod property;
