//! What ended how often at which stage.
