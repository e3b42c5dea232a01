//! A hook with all that it needs from files.

use tokio::time::timeout;

use crate::{command::Program, event::Message, failure::HookFailure, post::Post};
use zerottl_core::model::{HookConfig, HookTarget};
use zerottl_inputs::http_check::{Configs, SetupError};

/// A hook that can begin.
pub struct ReadyHook {
    /// Its configuration.
    pub(crate) config: HookConfig,
    target: Target,
}

enum Target {
    Post(Box<Post>),
    Command(Program),
}

/// The reason why a hook cannot begin.
#[derive(Debug, thiserror::Error)]
#[error("hook `{name}`: {source}")]
pub struct HookSetupError {
    name: String,
    source: Box<SetupError>,
}

impl ReadyHook {
    /// Makes all of them ready. Reads files.
    pub fn all(configs: &[HookConfig]) -> Result<Vec<Self>, HookSetupError> {
        let mut tls = Configs::default();
        let one = |config: &HookConfig| {
            let target = match &config.target {
                HookTarget::Command(words) => Target::Command(Program::new(words.clone())),
                HookTarget::Url { server, port, request, .. } => {
                    let post = Post::new(server, *port, request, &config.keys, &mut tls);
                    Target::Post(Box::new(
                        post.map_err(|source| HookSetupError { name: config.name.clone(), source: Box::new(source) })?,
                    ))
                }
            };
            Ok(Self { config: config.clone(), target })
        };
        configs.iter().map(one).collect()
    }

    /// Tries once to deliver an event.
    pub(crate) async fn attempt(&self, message: &Message) -> Result<(), HookFailure> {
        let limit = self.config.timeout;
        let attempt = async {
            match &self.target {
                Target::Post(post) => post.send(message, limit).await,
                Target::Command(program) => program.run(message).await,
            }
        };
        timeout(limit, attempt).await.unwrap_or(Err(HookFailure::Timeout(limit)))
    }
}
