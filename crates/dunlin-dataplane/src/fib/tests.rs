mod behaviour;
mod fake;
mod property;
