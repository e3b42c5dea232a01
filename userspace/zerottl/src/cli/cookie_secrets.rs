//! `zerottl cookie-secrets`: which secrets of server cookies the fronts of a fleet accept and make, and which they are to make.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, Instant},
};

use zerottl::admin::{cookie_secrets::MakeSecret, fleet::FleetPage};
use zerottl_inputs::agent_client::{self as client, AgentAddress};

use super::{
    AgentAt, CommandError,
    overrides::{operator, refused, understood},
    print,
};

/// How long every front is waited for.
const EVERYWHERE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(100);

/// The arguments of `cookie-secrets`.
#[derive(Debug, clap::Args)]
pub struct CookieSecretsArguments {
    /// Have all fronts make cookies with this secret, by its fingerprint; refused unless all accept it
    #[arg(long, value_name = "FINGERPRINT")]
    make: Option<String>,
    /// Wait until every living front does
    #[arg(long, requires = "make")]
    wait: bool,
    /// The name of whoever asks for it [default: the user that runs this]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    agent: AgentAt,
    /// Print JSON: the fleet's page
    #[arg(long)]
    json: bool,
}

impl CookieSecretsArguments {
    /// Says it, if it is to be said, and prints how it stands.
    pub async fn run(&self) -> Result<(), CommandError> {
        let at = self.agent.address()?;
        if let Some(make) = &self.make {
            let body = MakeSecret { make: make.clone(), by: self.by.clone().or_else(operator) };
            client::post(&at, "/v1/fleet/secret", &body).await.map_err(refused)?;
            if self.wait {
                wait(&at, make).await?;
            }
        }
        let answer = client::get(&at, "/v1/fleet").await.map_err(refused)?;
        if self.json {
            return print(&[&answer, &b"\n"[..]].concat());
        }
        print(table(&understood(&at, &answer)?).as_bytes())
    }
}

async fn wait(at: &AgentAddress, make: &str) -> Result<(), CommandError> {
    let begun = Instant::now();
    loop {
        let page: FleetPage = understood(at, &client::get(at, "/v1/fleet").await.map_err(refused)?)?;
        let others = page.fronts.iter().filter(|front| front.cookie_secrets.first().is_none_or(|made| made != make));
        let others: Vec<&str> = others.map(|front| front.front.as_str()).collect();
        if others.is_empty() && !page.fronts.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > EVERYWHERE {
            let why = format!("not yet made by {} after {} s", others.join(", "), EVERYWHERE.as_secs());
            return Err(CommandError::Sentence(why));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A line for each secret: who accepts it, and who makes cookies with it.
fn table(page: &FleetPage) -> String {
    let mut secrets: BTreeMap<&str, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
    for front in &page.fronts {
        for (number, secret) in front.cookie_secrets.iter().enumerate() {
            let (accept, make) = secrets.entry(secret).or_default();
            accept.push(&front.front);
            if number == 0 {
                make.push(&front.front);
            }
        }
    }
    let list = |fronts: &[&str]| if fronts.is_empty() { "nobody".to_owned() } else { fronts.join(", ") };
    let mut text = String::new();
    for (secret, (accept, make)) in secrets {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{secret}: accepted by {}; made by {}", list(&accept), list(&make));
    }
    let without = page.fronts.iter().filter(|front| front.cookie_secrets.is_empty());
    let without: Vec<&str> = without.map(|front| front.front.as_str()).collect();
    if !without.is_empty() {
        let _ = writeln!(text, "{}: secrets of their own, as there is no cookie_secret_file", without.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use zerottl::admin::fleet::FrontOfFleet;

    use super::*;

    #[test]
    fn who_accepts_and_makes_what_is_shown() {
        let front = |name: &str, secrets: &[&str]| FrontOfFleet {
            front: name.into(),
            cookie_secrets: secrets.iter().map(|&secret| secret.to_owned()).collect(),
            ..FrontOfFleet::default()
        };
        let fronts = vec![front("ns1", &["aa", "bb"]), front("ns2", &["aa"]), front("ns3", &[])];
        let page = FleetPage { fronts, ..FleetPage::default() };
        let expect = "aa: accepted by ns1, ns2; made by ns1, ns2\nbb: accepted by ns1; made by nobody\n\
                      ns3: secrets of their own, as there is no cookie_secret_file\n";
        assert_eq!(table(&page), expect);
    }
}
