use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::backoff::Backoff;
use super::config::{ApiConfig, host_address};
use super::connect::{ConnectError, connect_to_listen};
use super::exchange::{Exchange, Selection, Streaming};
use super::health::{Health, SourceHealth};
use super::informer::{Informer, Means};
use super::outage;
use super::pace::Pace;
use super::secrets::Secrets;
use super::state::Saver;
use super::teller::Teller;
use super::trouble::Trouble;
use super::vault::Vault;
use crate::SourceEvent;
use crate::object::Resource;

/// How long the API server has at the start before the last known state counts.
pub const FIRST_ANSWER: Duration = Duration::from_secs(3);

/// How often it is asked in that time.
const FIRST_PAUSE: Duration = Duration::from_millis(300);

/// What a source works with besides the API itself.
#[derive(Clone, Debug, Default)]
pub struct SourceOptions {
    /// The directory of the state file; it exists. None: nothing survives a restart without the API server.
    pub state_dir: Option<PathBuf>,
    /// The directory for passwords, on a tmpfs. None: they are not kept.
    pub secrets_dir: Option<PathBuf>,
    /// Connections are delivered by what is told: nothing of it is to wait for more to come.
    pub prompt: bool,
    /// Spreads pauses; another for each agent.
    pub seed: u64,
}

/// The Kubernetes API as a source of facts.
pub struct ApiSource {
    client: kube::Client,
    servers: Vec<std::net::IpAddr>,
    options: SourceOptions,
    health: Health,
    watched: watch::Receiver<SourceHealth>,
}

impl ApiSource {
    /// A source for what this configuration names. Call within the runtime that will run it.
    ///
    /// # Errors
    /// If it is not known where the API is, or who we are.
    pub async fn open(
        config: &ApiConfig,
        options: SourceOptions,
    ) -> Result<ApiSource, ConnectError> {
        let pace = match options.prompt {
            true => Pace::PROMPT,
            false => Pace::CALM,
        };
        let client = connect_to_listen(config, pace).await?;
        let servers = config
            .servers
            .iter()
            .filter_map(|server| host_address(server.uri()));
        let servers = servers.collect();
        Ok(ApiSource {
            servers,
            ..ApiSource::new(client, options)
        })
    }

    /// A source behind any client.
    pub fn new(client: kube::Client, options: SourceOptions) -> ApiSource {
        let (health, watched) = Health::new();
        ApiSource {
            client,
            servers: Vec::new(),
            options,
            health,
            watched,
        }
    }

    /// How it stands, at any time.
    pub fn health(&self) -> watch::Receiver<SourceHealth> {
        self.watched.clone()
    }

    /// Tells all there is, then what changes, until the receiver is dropped; then the state file is brought up to date, which
    /// takes two seconds at most. A full channel makes it wait, and that the API server. What goes wrong is shown by [`ApiSource::health`] and tried again for ever.
    pub async fn run(self, events: mpsc::Sender<SourceEvent>) {
        let teller = Teller::new(events, self.servers);
        let health = self.health;
        let saver = Saver::open(self.options.state_dir, health.clone());
        let exchange = Exchange::new(self.client, health.clone());
        let means = Means {
            exchange: exchange.clone(),
            teller: teller.clone(),
            health: health.clone(),
            saver: saver.clone(),
        };
        let (fall_back, fallback) = watch::channel(false);
        let mut seed = Backoff::new(self.options.seed);
        let mut next_seed = move || seed.chance().to_bits();
        if teller.tell_servers().await.is_err() {
            return;
        }
        // The version says how to list; without an answer, what was saved counts.
        let known = tokio::select! {
            known = first_answer(&exchange, next_seed()) => known,
            () = teller.closed() => return,
        };
        if !known {
            let secs = FIRST_ANSWER.as_secs();
            tracing::warn!(
                "no API server answered within {secs} s: going on with the last known state, if there is one"
            );
            if health.read(|health| health.unreachable_since.is_none()) {
                let silent = Trouble::Unreachable(format!("no answer within {secs} s"));
                health.unreachable(&silent);
            }
            let _ = fall_back.send(true);
        }
        let mut tasks = JoinSet::new();
        if !known {
            tasks.spawn(learn_version(exchange, next_seed(), Duration::MAX));
        }
        for resource in Resource::watched() {
            let selection = Selection {
                resource,
                only: None,
            };
            let informer = Informer::new(selection, means.clone(), next_seed());
            tasks.spawn(informer.run(fallback.clone()));
        }
        tasks.spawn(outage::fall_back(health, fall_back));
        let vault = Vault::new(self.options.secrets_dir);
        tasks.spawn(Secrets::new(means, vault, fallback, next_seed()).run());
        teller.closed().await;
        // Nobody tells any more: what was told is kept for the next start.
        tasks.shutdown().await;
        saver.flush().await;
    }
}

/// Whether a server answers while there is time.
async fn first_answer(exchange: &Exchange, seed: u64) -> bool {
    let asking = learn_version(exchange.clone(), seed, FIRST_PAUSE);
    tokio::time::timeout(FIRST_ANSWER, asking).await.is_ok()
}

/// Asks for the version until there is an answer.
async fn learn_version(exchange: Exchange, seed: u64, longest: Duration) {
    let mut backoff = Backoff::new(seed);
    while let Err(trouble) = exchange.learn_version().await {
        if matches!(trouble, Trouble::Forbidden(_) | Trouble::NotInstalled) {
            exchange.set_streaming(Streaming::No);
            return;
        }
        tokio::time::sleep(backoff.next(trouble.retry_after()).min(longest)).await;
    }
}
