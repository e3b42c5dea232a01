//! The distributor: which application server a new connection goes to, decided in the kernel.
//!
//! The programs (`src/director_main.rs`) are a thin shell around [`choose`] and [`tally`], which see the maps only through
//! the trait [`maps::DirectorMaps`]; the host compiles the same functions for their tests.
//!
//! | module | concern |
//! |---|---|
//! | [`cell`] | words that many change |
//! | [`layout`] | the maps, byte by byte |
//! | [`reason`] | why a connection went where it went |
//! | [`reserve`] | places of handshakes that are not over |
//! | [`scratch`] | memory that a choice needs beyond registers |
//! | [`trust`] | how far such places are believed |
//! | [`turn`] | whose turn it is: stride scheduling, and least load |
//! | [`maps`] | the maps as the code sees them |
//! | [`choose`] | the choice for a new connection, and for one whose listener closes |
//! | [`tally`] | connections that come to be and end |

pub mod cell;
pub mod choose;
pub mod layout;
pub mod maps;
pub mod reason;
pub mod reserve;
pub mod scratch;
pub mod tally;
pub mod trust;
pub mod turn;
