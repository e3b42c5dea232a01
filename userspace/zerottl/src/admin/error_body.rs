//! The body of a refusal.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Fault)]
pub struct ErrorBody {
    /// `no-such`, `invalid`, `below-minimum`, `stopping`.
    pub error: String,
    /// In a sentence.
    pub message: String,
}
