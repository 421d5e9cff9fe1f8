//! How far an account's grant of `url()` reaches.
//!
//! A grant may be filtered: `READ ON URL('pattern')`. ClickHouse 25.8 takes such a grant and holds to it while
//! it runs, but writes it to its disk as `URL ON *.*`: at its next start the account may call anywhere. So
//! it is not enough to try a forbidden address: `SHOW GRANTS` prints what the disk has. Where the filter
//! is not printed, a caller's text must not run with the grant, and a splice account has to have it.

use clickhouse_sql::{Tokens, accounts::cold_url_pattern, quote};

use super::{Asking, Calls, Finding, WAIT};
use crate::Error;

/// An address that nobody has a reason to call.
const ANYWHERE: &str = "url('http://127.0.0.1:9/', 'LineAsString', 'line String')";
/// What an operator does where ClickHouse forgets filters.
const SPLICE_ACCOUNT: &str = "ClickHouse 25.8 forgets the filter of a URL grant when it starts again, unless the \
    account stands in users.xml; there cold rows need a splice account: deploy/sql/accounts-25.8.sql, \
    hot_storage.splice_user and hot_storage.splice_password_file";

/// A grant of `url()`, as `SHOW GRANTS` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shown {
    /// There is none.
    No,
    /// For a pattern's addresses.
    Filtered,
    /// For any address.
    Unfiltered,
}

pub(super) async fn check(asking: &Asking<'_>, calls: &Calls) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    if !matches!(calls, Calls::Service(_)) {
        findings.extend(too_far(asking, calls).await?);
    }
    if let Calls::OnlyService(url) | Calls::Service(url) = calls {
        findings.extend(not_far_enough(asking, url.trim_end_matches('/')).await?);
    }
    Ok(findings)
}

/// The account runs what callers wrote.
async fn too_far(asking: &Asking<'_>, calls: &Calls) -> Result<Option<Finding>, Error> {
    let mut finding = asking.reaches_beyond("URL");
    let is_open = !asking.is_denied(ANYWHERE).await?;
    let shown = shown(&asking.client.query("SHOW GRANTS FINAL FORMAT TSVRaw").deadline(WAIT).text().await?);
    match calls {
        Calls::Nowhere if is_open || shown != Shown::No => Ok(Some(finding)),
        Calls::OnlyService(_) if is_open || shown == Shown::Unfiltered => {
            finding.what = format!("{} ({SPLICE_ACCOUNT})", finding.what);
            Ok(Some(finding))
        }
        _ => Ok(None),
    }
}

async fn not_far_enough(asking: &Asking<'_>, url: &str) -> Result<Option<Finding>, Error> {
    let ticket = quote::string(&format!("{url}/internal/v1/cold/none"));
    let denied = asking.is_denied(&format!("url({ticket}, 'LineAsString', 'line String')")).await?;
    Ok(denied.then(|| Finding {
        what: "it cannot fetch cold rows from storage-service".to_owned(),
        mend: format!("GRANT READ ON URL({}) TO {}", quote::string(&cold_url_pattern(url)), asking.account),
    }))
}

/// The widest grant of the source `URL` among the lines of `SHOW GRANTS`.
fn shown(grants: &str) -> Shown {
    let widest = |line: &str| {
        // A line that cannot be read says nothing good.
        let Ok(t) = Tokens::read(line) else { return Shown::Unfiltered };
        let is_source = |i: &usize| {
            let part_of_a_name = t.sym(i + 1, ".") || (*i > 0 && (t.sym(i - 1, ".") || t.is(i - 1, "TO")));
            t.is(*i, "URL") && !part_of_a_name
        };
        let reach = |i: usize| if t.sym(i + 1, "(") { Shown::Filtered } else { Shown::Unfiltered };
        (0..t.len()).filter(is_source).map(reach).max().unwrap_or(Shown::No)
    };
    grants.lines().filter(|line| line.starts_with("GRANT")).map(widest).max().unwrap_or(Shown::No)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_grant_of_url_counts() {
        let filtered = "GRANT READ ON URL(`http://s:1/internal/v1/cold/.*`) TO q";
        for (grants, expected) in [
            ("GRANT SELECT, CREATE TEMPORARY TABLE ON *.* TO q", Shown::No),
            ("GRANT SELECT ON URL.* TO q\nGRANT SELECT ON d.url TO q\nGRANT SELECT ON d.t TO URL", Shown::No),
            ("GRANT ALL ON d.* TO q\nREVOKE READ ON URL FROM q", Shown::No),
            (filtered, Shown::Filtered),
            (&format!("{filtered}\nGRANT URL ON *.* TO q"), Shown::Unfiltered),
            (&format!("GRANT READ ON URL TO q\n{filtered}"), Shown::Unfiltered),
            ("GRANT FILE, URL ON *.* TO q", Shown::Unfiltered),
            ("GRANT READ ON S3('s3://b/.*') TO q", Shown::No),
        ] {
            assert_eq!(shown(grants), expected, "{grants}");
        }
    }
}
