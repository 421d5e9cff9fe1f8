//! The accounts that queries use on the hot ClickHouse, and their check at start.
//!
//! What a caller wrote runs as the query account. Our own splices of it, which fetch cold rows by `url()`,
//! run as the splice account where there is one, after the query account has judged the caller's text.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use clickhouse_http::{
    client::Client,
    query_account::{self, Calls, Wanted},
};
use storage_config::{Account, CloudConfig};
use supervisor::Supervisor;

use crate::hot::INTERNAL_DATABASE;

/// The hot ClickHouse, as queries ask it.
#[derive(Clone, Debug)]
pub struct QueryClients {
    /// Runs and judges what callers wrote.
    pub queries: Client,
    /// Runs our own splices with `url()`; `None`: `queries` does.
    pub splices: Option<Client>,
}

impl QueryClients {
    /// The accounts of the configuration over `hot`'s connections; the owner's where none is named.
    ///
    /// # Errors
    /// A name or a password that cannot stand in a header.
    pub fn new(config: &CloudConfig, hot: &Client) -> Result<Self> {
        let client =
            |account: &Account| hot.as_account(&account.user, account.password.clone().unwrap_or_default());
        let queries = match &config.hot.query_account {
            Some(account) => client(account).context("hot_storage.query_user")?,
            None => hot.clone(),
        };
        let splices = match &config.hot.splice_account {
            Some(account) => Some(client(account).context("hot_storage.splice_user")?),
            None => None,
        };
        Ok(Self { queries, splices })
    }

    /// Checks the accounts in the background, as soon as the hot ClickHouse answers.
    pub fn check(&self, config: &CloudConfig, work: &Supervisor) {
        let Some(account) = &config.hot.query_account else {
            return tracing::warn!(
                "no hot_storage.query_user: callers' queries run as {}, which may write",
                config.hot.user
            );
        };
        let databases: BTreeSet<String> =
            config.tables.iter().map(|table| table.hot_database.clone()).collect();
        let databases: Vec<String> = databases.into_iter().chain([INTERNAL_DATABASE.to_owned()]).collect();
        let watch = |client: &Client, account: &Account, calls: Calls| {
            let wanted = Wanted { account: account.user.clone(), databases: databases.clone(), calls };
            let (client, stop) = (client.clone(), work.token());
            work.spawn_brief(async move {
                stop.run_until_cancelled(query_account::report(client, wanted)).await;
            });
        };
        let service = config.service.internal_url.as_ref().map(ToString::to_string);
        match (service, self.splices.as_ref().zip(config.hot.splice_account.as_ref())) {
            (Some(service), Some((splices, splice_account))) => {
                watch(&self.queries, account, Calls::Nowhere);
                watch(splices, splice_account, Calls::Service(service));
            }
            (Some(service), None) => watch(&self.queries, account, Calls::OnlyService(service)),
            (None, _) => watch(&self.queries, account, Calls::Nowhere),
        }
    }
}
