//! `zerottl session`: what is asked of the processes that host a Site's sessions.

mod text;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use zerottl_config as config;
use zerottl_core::{
    model::{AdminListen, Director, Model, ServerCommand, Web},
    session_id::SessionId,
};
use zerottl_inputs::agent_client::{self as client, AgentAddress, ClientError};
use zerottl_session::{StorePage, page::SessionPage};

use self::text::{SessionsPage, Unanswered};
use super::{CommandError, INSTALLED, complain, overrides::refused, print};

/// The questions about sessions.
#[derive(Debug, clap::Args)]
pub struct SessionArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show how many sessions this machine's processes host, how well they are copied, and the session servers
    Status(Asked),
    /// Show which process hosts a session, under which epoch, and which session servers have its newest state
    Explain {
        /// The session's ID, as the application gets it in `X-Zerottl-Session`
        #[arg(value_name = "ID", allow_hyphen_values = true)]
        id: SessionId,
        #[command(flatten)]
        asked: Asked,
    },
}

/// The processes that are asked.
#[derive(Debug, clap::Args)]
struct Asked {
    /// An admin interface, `admin` of [web]: ADDRESS:PORT or unix:PATH [default: what the configuration says]
    #[arg(long, value_name = "PLACE", conflicts_with_all = ["config", "site"])]
    at: Option<AdminListen>,
    /// The configuration, TOML [default: /etc/zerottl/zerottl.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The Site, by its key in the file [default: the only one with session servers]
    #[arg(long = "as", value_name = "SITE")]
    site: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A process that is asked.
#[derive(Clone, Debug)]
struct Place {
    at: AgentAddress,
    /// The beginning of its pages' paths.
    prefix: String,
    /// The name.
    name: String,
}

/// Runs the command.
pub async fn session(arguments: SessionArguments) -> Result<(), CommandError> {
    match arguments.command {
        Command::Status(asked) => asked.status().await,
        Command::Explain { id, asked } => asked.explain(id).await,
    }
}

impl Asked {
    async fn status(&self) -> Result<(), CommandError> {
        let mut page = SessionsPage::default();
        let places = self.places()?;
        for place in &places {
            match place.ask::<StorePage>("/v1/sessions").await {
                Ok(store) => page.workers.push(store),
                Err(error) => {
                    let why = place.sentence(error).to_string();
                    let why = why.strip_prefix("zerottl: ").map(ToOwned::to_owned).unwrap_or(why);
                    page.unanswered.push(Unanswered { process: place.name.clone(), why });
                }
            }
        }
        if page.workers.is_empty() {
            let whys: Vec<&str> = page.unanswered.iter().map(|one| one.why.as_str()).collect();
            return Err(CommandError::Sentence(whys.join("; ")));
        }
        if self.json {
            let json = serde_json::to_string(&page).map_err(|error| error.to_string())?;
            return print(format!("{json}\n").as_bytes());
        }
        print(text::status(&page).as_bytes())
    }

    async fn explain(&self, id: SessionId) -> Result<(), CommandError> {
        let path = format!("/v1/session/{id}/explain");
        let (mut found, mut failed): (Option<SessionPage>, Vec<CommandError>) = (None, Vec::new());
        for place in &self.places()? {
            match place.ask::<SessionPage>(&path).await {
                Ok(page) => {
                    let is_host = page.state == "hosted";
                    if is_host || found.is_none() {
                        found = Some(page);
                    }
                    if is_host {
                        break;
                    }
                }
                Err(error) => failed.push(place.sentence(error)),
            }
        }
        let Some(mut page) = found else {
            return Err(failed
                .into_iter()
                .next()
                .unwrap_or_else(|| "there is no process to be asked".to_owned().into()));
        };
        // Its host knows more, such as what it has not copied yet; if it does not answer, the session servers' word stands.
        if let Some(place) = page.reach.as_deref().and_then(Place::reached)
            && let Ok(hosts) = place.ask::<SessionPage>(&path).await
            && hosts.state == "hosted"
        {
            page = SessionPage { reach: page.reach, ..hosts };
        }
        for error in &failed {
            complain(&error.to_string());
        }
        if self.json {
            let json = serde_json::to_string(&page).map_err(|error| error.to_string())?;
            return print(format!("{json}\n").as_bytes());
        }
        print(text::explain(&page).as_bytes())
    }

    /// Returns the processes that are to be asked.
    fn places(&self) -> Result<Vec<Place>, CommandError> {
        if let Some(place) = &self.at {
            return Ok(vec![Place::at(place.clone())]);
        }
        let file = self.config.as_deref().unwrap_or(Path::new(INSTALLED));
        let model = config::load(file).map_err(|error| CommandError::report(&error))?.model;
        Ok(places(&model, self.site.as_deref())?)
    }
}

impl Place {
    fn at(place: AdminListen) -> Self {
        let name = place.to_string();
        Self { at: AgentAddress { place, token: None }, prefix: String::new(), name }
    }

    /// Reads where a worker says that it is reached: `http://HOST:PORT`, or the path of a Unix socket.
    fn reached(reach: &str) -> Option<Self> {
        let place = match reach.strip_prefix("http://") {
            Some(at) => AdminListen::Tcp(at.parse().ok()?),
            None if reach.starts_with('/') => AdminListen::Unix(reach.into()),
            None => return None,
        };
        Some(Self::at(place))
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let body = client::get(&self.at, &format!("{}{path}", self.prefix)).await?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// Says what went wrong, by the process's own words where it has some.
    fn sentence(&self, error: ClientError) -> CommandError {
        let name = &self.name;
        match error {
            ClientError::Connect(place, error) => CommandError::Sentence(format!(
                "nothing answers at {place}: {error}; is `zerottl site` or the director running, with this `admin` or `control`?"
            )),
            ClientError::Timeout(limit) => format!("{name} did not answer within {limit:?}").into(),
            ClientError::Status(404, words) if !words.starts_with('{') => {
                format!("{name} hosts no sessions: its [web.session] names no `servers`").into()
            }
            ClientError::Json(error) => {
                format!("what answers at {name} is no `zerottl site` of this version ({error})").into()
            }
            other => refused(other),
        }
    }
}

/// Returns the processes of a Site by the configuration.
fn places(model: &Model, site: Option<&str>) -> Result<Vec<Place>, String> {
    let at = match site {
        Some(key) => model.known_site(key).map_err(|error| error.to_string())?.0,
        None => only(model)?,
    };
    let key = &model.sites[at].key;
    let web = model.web.get(at).ok_or("the configuration has no [web]: nothing of it hosts sessions")?;
    if !hosts(web) {
        return Err(format!("the Site `{key}` has no session servers: [web.session] names no `servers`"));
    }
    if let Some(director) = model.directors.get(at).and_then(Option::as_ref) {
        let processes = processes(director);
        if !processes.is_empty() {
            return Ok(processes);
        }
    }
    let admin = web
        .admin
        .ok_or_else(|| format!("the Site `{key}` has `admin = \"none\"`: its sessions cannot be asked for"))?;
    Ok(vec![Place::at(AdminListen::Tcp(admin))])
}

/// Returns the processes of `zerottl site` that a director runs, each by the director's own socket.
fn processes(director: &Director) -> Vec<Place> {
    let sites = director.servers.iter().filter(|server| server.command == ServerCommand::Site);
    let names = sites.flat_map(|server| (1..=server.count).map(|number| format!("{}-{number}", server.name)));
    let place = |name: String| {
        let control = AdminListen::Unix(director.control.clone());
        Place { at: AgentAddress { place: control, token: None }, prefix: format!("/servers/{name}"), name }
    };
    names.map(place).collect()
}

fn hosts(web: &Web) -> bool {
    !web.session.servers.is_empty()
}

/// Returns the only Site with session servers.
fn only(model: &Model) -> Result<usize, String> {
    let all = || model.web.iter().enumerate().filter(|(_, web)| hosts(web)).map(|(at, _)| at);
    match (all().next(), all().nth(1)) {
        (Some(at), None) => Ok(at),
        (None, _) => Err("the configuration has no session servers: [web.session] names no `servers`".into()),
        _ => {
            let keys: Vec<&str> = all().map(|at| model.sites[at].key.as_str()).take(20).collect();
            Err(format!("say which Site by --as: {} have session servers", keys.join(", ")))
        }
    }
}
