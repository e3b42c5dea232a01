//! `[web]`: what is wrong with it, each message whole.
