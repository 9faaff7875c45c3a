mod history;
mod model;
mod naive;
mod world;
