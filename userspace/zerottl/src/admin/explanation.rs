//! The page of `zerottl explain` and `/v1/explain`, and its text for a terminal.

use std::{fmt::Write, net::IpAddr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{signatures::SignedAnswer, text};

/// The page. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The name asked for, as configured if it is.
    pub name: String,
    /// The client asked for, if any.
    #[schema(value_type = Option<String>)]
    pub client: Option<IpAddr>,
    /// The zone that holds the name, if any.
    pub zone: Option<String>,
    /// `pool`, `group` or `site`; `static` for other names of our zones, `outside` for the rest.
    pub kind: String,
    /// The Group Name of the group that answers `client` for this Pool Name, by its client nets.
    pub group: Option<String>,
    /// The policy that decides, that of the group if there is one, or `failover` for a Site Name.
    pub policy: Option<String>,
    /// A sentence that holds for every type.
    pub note: Option<String>,
    /// A and AAAA; empty unless this machine answers the name from a plan.
    pub families: Vec<FamilyExplanation>,
    /// HTTPS, where the pool has it and this machine answers the name.
    #[serde(default)]
    pub https: Option<HttpsExplanation>,
    /// Answers from the zone's records, by type.
    #[serde(default)]
    pub answers: Vec<TypeAnswer>,
    /// Signatures and proofs by type, where they are asked for and the zone is signed.
    #[serde(default)]
    pub dnssec: Vec<SignedAnswer>,
}

/// A name's HTTPS records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HttpsExplanation {
    /// `table` or `servfail`.
    pub choice: String,
    /// The records in the table.
    pub records: Vec<RecordShare>,
}

/// A record and how often it is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecordShare {
    /// Its data, as in a master file.
    pub record: String,
    /// The part of the table's slots, 0 to 1.
    pub share: f64,
}

/// One type of a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FamilyExplanation {
    /// `A` or `AAAA`.
    pub family: String,
    /// `table`, `nodata` or `servfail`.
    pub choice: String,
    /// The answer, as a sentence.
    pub answer: String,
    /// Why it is not what health alone would give, if so.
    pub note: Option<String>,
    /// The addresses in the table.
    pub addresses: Vec<AddressShare>,
    /// With the policy `sticky`, the answer to `client`.
    #[schema(value_type = Option<String>)]
    pub sticky: Option<IpAddr>,
    /// The Sites the name chooses from or fails over along, in order, then others in the table.
    pub sites: Vec<SiteVerdict>,
}

/// An address and how often it is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AddressShare {
    /// The address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// The key of its Site.
    pub site: String,
    /// The part of the table's slots, 0 to 1.
    pub share: f64,
}

/// One Site's part in one name and family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SiteVerdict {
    /// The Site's key.
    pub site: String,
    /// Whether health and configuration let it be answered.
    pub eligible: bool,
    /// The part of the table's slots, 0 to 1.
    pub share: f64,
    /// Why, as a sentence.
    pub why: String,
}

/// The answer to one type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TypeAnswer {
    /// The type asked for.
    #[serde(rename = "type")]
    pub rtype: String,
    /// `NOERROR`, `NXDOMAIN`, …
    pub rcode: String,
    /// Where it comes from, as a sentence.
    pub why: String,
    /// Records of the answer, as in a master file.
    pub answer: Vec<String>,
    /// Records of the authority section: a referral's NS, a negative answer's SOA.
    pub authority: Vec<String>,
    /// Addresses besides.
    pub additional: Vec<String>,
}

impl Explanation {
    /// The page for a terminal.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut page = String::new();
        let zone = self.zone.as_ref().map_or(String::new(), |zone| format!(" in zone {zone}"));
        let policy = self.policy.as_ref().map_or(String::new(), |policy| format!(", by {policy}"));
        let head = format!("{}: {} name{zone}{policy}", self.name, self.kind);
        let _ = writeln!(page, "{}", text::printable(&head));
        if let Some(client) = self.client {
            let _ = writeln!(page, "client {client}");
        }
        if let Some(note) = &self.note {
            let _ = writeln!(page, "{}", text::printable(note));
        }
        for family in &self.families {
            let _ = writeln!(page, "\n{}: {}", family.family, text::printable(&family.answer));
            if let Some(note) = &family.note {
                let _ = writeln!(page, "{}", text::printable(note));
            }
            let row = |site: &SiteVerdict| {
                let eligible = if site.eligible { "yes" } else { "no" };
                vec![site.site.clone(), eligible.into(), text::percent(site.share), site.why.clone()]
            };
            let rows: Vec<_> = family.sites.iter().map(row).collect();
            page.push_str(&text::table(&["SITE", "ELIGIBLE", "SHARE", "WHY"], &rows));
        }
        if let Some(https) = &self.https {
            let head = if https.records.is_empty() {
                &https.choice.to_uppercase()
            } else {
                "a Site's, chosen in the same way"
            };
            let _ = writeln!(page, "\nHTTPS: {head}");
            let row = |entry: &RecordShare| vec![entry.record.clone(), text::percent(entry.share)];
            let rows: Vec<_> = https.records.iter().map(row).collect();
            if !rows.is_empty() {
                page.push_str(&text::table(&["RECORD", "SHARE"], &rows));
            }
        }
        for answer in &self.answers {
            answer.write(&mut page);
        }
        for answer in &self.dnssec {
            page.push('\n');
            for line in answer.lines() {
                let _ = writeln!(page, "{}", text::printable(&line));
            }
        }
        page
    }
}

impl TypeAnswer {
    /// Appends it for a terminal.
    fn write(&self, page: &mut String) {
        let _ = writeln!(page, "\n{}: {}, {}", self.rtype, self.rcode, text::printable(&self.why));
        for (section, records) in
            [("", &self.answer), ("authority ", &self.authority), ("additional ", &self.additional)]
        {
            for record in records {
                let _ = writeln!(page, "  {section}{}", text::printable(record));
            }
        }
    }
}
