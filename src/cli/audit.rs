//! `transom audit`: who changed what, and whether the log is whole.

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::Args;

use crate::admin::audit_hash;
use crate::admin::pb::AuditEntry;
use crate::admin::pb::ListAuditRequest;
use crate::admin::pb::ListAuditResponse;
use crate::cli::client::Admin;
use crate::cli::client::Options;
use crate::cli::failure::Failure;
use crate::cli::failure::Outcome;
use crate::cli::help;
use crate::cli::output::Format;
use crate::cli::output::Table;
use crate::cli::output::print;
use crate::cli::output::short;
use crate::cli::output::show;
use crate::cli::output::time;
use crate::cli::pages;

/// List who changed what, the newest first, or verify the log
///
/// With --verify all of the log is read: the hash of each entry is computed anew and compared, with the entry before
/// as well. Note the hash that is printed: a later log must contain it.
#[derive(Debug, Args)]
#[command(after_long_help = help::client(&["transom audit --limit 20", "transom audit --verify"]))]
pub(super) struct Audit {
    /// At most this many
    #[arg(long, value_name = "N", default_value = "100")]
    limit: NonZeroUsize,
    /// Check that nothing was changed or taken out
    #[arg(long, conflicts_with = "limit")]
    verify: bool,
    #[command(flatten)]
    gateway: Options,
}

pub(super) async fn run(args: &Audit) -> Outcome {
    let admin = args.gateway.connect().await?;
    if args.verify {
        return verify(&admin, args.gateway.output).await;
    }
    let listed =
        pages::read(args.limit.get(), |page_size, page_token| page(&admin, page_size, page_token)).await?;
    if args.gateway.output == Format::Table {
        listed.tell_of_rest();
    }
    let reply = ListAuditResponse { entries: listed.all, next_page_token: listed.rest };
    show(args.gateway.output, "ListAuditResponse", &reply, |paint| {
        let head = &["#", "TIME", "BY", "ROLE", "FROM", "METHOD", "TARGET", "BEFORE", "AFTER", "NOTE"];
        let mut table = Table::new(head);
        for entry in &reply.entries {
            table.row([
                entry.sequence.to_string(),
                time(entry.time.as_ref()),
                entry.actor.clone(),
                entry.role.clone(),
                entry.peer.clone(),
                entry.method.clone(),
                entry.target.clone(),
                short(&entry.before),
                short(&entry.after),
                entry.note.clone(),
            ]);
        }
        if table.is_empty() { "nothing was changed yet\n".into() } else { table.text(paint) }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn page(
    admin: &Admin,
    page_size: i32,
    page_token: String,
) -> Result<(Vec<AuditEntry>, String), Failure> {
    let request = ListAuditRequest { page_size, page_token };
    let reply = admin.reply(admin.status().list_audit(request)).await?;
    Ok((reply.entries, reply.next_page_token))
}

async fn verify(admin: &Admin, format: Format) -> Outcome {
    let mut chain = Chain::default();
    let mut token = String::new();
    loop {
        let (entries, next) = page(admin, pages::PAGE, token).await?;
        let is_empty = entries.is_empty();
        for entry in &entries {
            chain.take(entry).map_err(Failure::Refused)?;
        }
        if next.is_empty() {
            break;
        }
        if is_empty {
            return Err(Failure::Refused("the gateway tells of a next page on an empty one".into()));
        }
        token = next;
    }
    let verified = chain.end().map_err(Failure::Refused)?;
    print(&match format {
        Format::Table if verified.entries == 0 => "the log is empty\n".to_owned(),
        Format::Table => {
            format!(
                "entries 1 to {} are whole; the hash of the last is {}\n",
                verified.entries, verified.hash
            )
        }
        Format::Json => {
            format!("{{\n  \"entries\": \"{}\",\n  \"hash\": \"{}\"\n}}\n", verified.entries, verified.hash)
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Reads a log from its end, and finds where it isn't what was written.
#[derive(Default)]
struct Chain {
    verified: Verified,
    /// The number of the entry that was read last, and what it says is the hash of the one before.
    later: Option<(u64, String)>,
}

/// A log that is whole.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verified {
    entries: u64,
    /// Of the newest entry; hex digits.
    hash: String,
}

impl Chain {
    /// The entry before the one that was taken last.
    fn take(&mut self, entry: &AuditEntry) -> Result<(), String> {
        let number = entry.sequence;
        let mut hash = String::new();
        for byte in audit_hash(entry) {
            let _ = write!(hash, "{byte:02x}");
        }
        if hash != entry.hash {
            return Err(format!(
                "the log was changed: the hash of entry {number} isn't that of what it says"
            ));
        }
        if let Some((later, previous)) = &self.later {
            if number.checked_add(1) != Some(*later) {
                return Err(format!("the log was changed: {later} comes right after {number}"));
            }
            if *previous != hash {
                return Err(format!("the log was changed: entry {later} was written after another {number}"));
            }
        }
        if self.verified.entries == 0 {
            self.verified.hash = hash;
        }
        self.verified.entries += 1;
        self.later = Some((number, entry.previous.clone()));
        Ok(())
    }

    /// There are no entries before.
    fn end(self) -> Result<Verified, String> {
        match self.later {
            None => Ok(self.verified),
            Some((1, previous)) if previous.is_empty() => Ok(self.verified),
            Some((1, _)) => Err("the log was changed: entry 1 tells of an entry before it".into()),
            Some((first, _)) => Err(format!("the log was changed: it begins with entry {first}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(mut entry: AuditEntry) -> AuditEntry {
        entry.hash = audit_hash(&entry).iter().map(|byte| format!("{byte:02x}")).collect();
        entry
    }

    /// A log of `length` entries, the newest first.
    fn log(length: u64) -> Vec<AuditEntry> {
        let mut log: Vec<AuditEntry> = Vec::new();
        for sequence in 1..=length {
            let previous = log.last().map(|entry| entry.hash.clone()).unwrap_or_default();
            log.push(signed(AuditEntry { sequence, previous, actor: "ci".into(), ..AuditEntry::default() }));
        }
        log.reverse();
        log
    }

    fn verified(log: &[AuditEntry]) -> Result<Verified, String> {
        let mut chain = Chain::default();
        log.iter().try_for_each(|entry| chain.take(entry))?;
        chain.end()
    }

    #[test]
    fn a_log_is_whole_or_the_place_is_told() {
        assert_eq!(verified(&[]).unwrap(), Verified::default());
        let whole = log(3);
        assert_eq!(verified(&whole), Ok(Verified { entries: 3, hash: whole[0].hash.clone() }));

        let told = |log: &[AuditEntry]| verified(log).unwrap_err();
        let mut changed = whole.clone();
        changed[1].actor = "eve".into();
        assert!(told(&changed).contains("the hash of entry 2 isn't"));
        changed[1] = signed(changed[1].clone());
        assert!(told(&changed).contains("entry 3 was written after another 2"));
        assert!(told(&[whole[0].clone(), whole[2].clone()]).contains("3 comes right after 1"));
        assert!(told(&whole[..2]).contains("it begins with entry 2"));
        assert!(told(&[whole[0].clone(), whole[0].clone()]).contains("3 comes right after 3"));
        let end = signed(AuditEntry { sequence: u64::MAX, ..AuditEntry::default() });
        assert!(told(&[end.clone(), end]).contains("comes right after"));
        let early = signed(AuditEntry { sequence: 1, previous: "00".into(), ..AuditEntry::default() });
        assert!(told(&[early]).contains("entry 1 tells of an entry before"));
    }
}
