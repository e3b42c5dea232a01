//! Deferral (S4-5B-DEFER).
