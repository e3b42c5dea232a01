//! One small application, whose sessions are kept by whichever of the keepers it is told: it reads a session's cart, counts, and
//! keeps the cart again. `cargo xtask bench -- --only sessions` asks it; it also measures what sessions take in memory.
//!
//! | module | what |
//! |---|---|
//! | `cart` | what a session keeps, and who keeps it |
//! | `of_tower` | the application with tower-sessions |
//! | `of_zerottl` | the same with zerottl's layer, behind operation 500 |
//! | `memory` | the memory of a process before and after it keeps so many sessions |

use std::{net::SocketAddr, path::PathBuf};

use axum::{
    Router,
    serve::{Listener as _, ListenerExt as _},
};
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;

mod cart;
mod memory;
mod of_tower;
mod of_zerottl;

use crate::cart::{Cart, Keeper, PeerResult};

/// An application with sessions
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve
    Serve {
        /// Keeper of the sessions
        keeper: Keeper,
        /// Where to listen
        at: SocketAddr,
        /// The URL of the Redis of tower-redis, or the configuration of zerottl's
        place: Option<PathBuf>,
        /// A folder by which zerottl's workers of one machine see that one has died
        #[arg(long)]
        folder: Option<PathBuf>,
        /// Where zerottl's workers say what they know
        #[arg(long)]
        admin: Option<SocketAddr>,
    },
    /// Print the memory of so many sessions: bytes, before and after
    Memory {
        /// Keeper of the sessions
        keeper: Keeper,
        /// How many
        count: u32,
        /// The configuration of zerottl's; without servers otherwise
        place: Option<PathBuf>,
    },
}

#[tokio::main]
async fn main() -> PeerResult<()> {
    match Arguments::parse().command {
        Command::Serve { keeper, at, place, folder, admin } => {
            let place = || place.clone().ok_or("this keeper needs a place");
            let routes = match keeper {
                Keeper::None => Router::new().route("/", axum::routing::get(without)),
                Keeper::TowerMemory => of_tower::in_memory(),
                Keeper::TowerRedis => of_tower::in_redis(place()?.to_str().ok_or("no URL")?).await?,
                Keeper::TowerZerottl => of_tower::in_zerottl(of_zerottl::store(&place()?)?),
                Keeper::Zerottl => {
                    let (routes, api) = of_zerottl::application(&place()?, folder.as_deref())?;
                    if let Some(admin) = admin {
                        let listener = TcpListener::bind(admin).await?;
                        tokio::spawn(async move { axum::serve(listener, api).await });
                    }
                    routes
                }
            };
            let listener = TcpListener::bind(at).await?.tap_io(|stream| {
                // A connection that has ended by now is seen when it is read.
                let _ = stream.set_nodelay(true);
            });
            println!("serves at {}", listener.local_addr()?);
            axum::serve(listener, routes.into_make_service_with_connect_info::<SocketAddr>()).await?;
        }
        Command::Memory { keeper, count, place } => {
            let (before, after) = memory::measure(keeper, count, place.as_deref()).await?;
            println!("{before} {after}");
        }
    }
    Ok(())
}

/// Counts what nobody keeps.
async fn without() -> String {
    Cart::default().count()
}
