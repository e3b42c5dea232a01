//! The distributor: which application server a new connection goes to, decided in the kernel.
//!
//! | module | concern |
//! |---|---|
//! | [`layout`] | the maps, byte by byte |

pub mod layout;
