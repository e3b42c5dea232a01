//! Long runs that need neither kernel nor network: operation 500 against its oracles, load in simulation, parsers on the fuzz
//! corpus.

mod fuzz;
mod load_simulation;
mod site_differential;
mod site_golden;
mod site_model_check;
