//! `depends_on` of Sites: which Sites they are, and that none depends on itself.

use std::{collections::HashMap, ops::Range};

use super::{raw, readers::each, report::Reporter, tables::section, values::Reader};
use zerottl_core::model::{Site, SiteId};

/// Sites that one Site may depend on.
const ON_MAX: usize = 1_000;
/// Cycles that are reported, at most.
const CYCLES_MAX: usize = 20;

/// A Site that is depended on, and where that is said.
type Edge = (usize, Range<usize>);

/// Gives each Site those that it depends on.
pub(super) fn join(report: &mut Reporter, raw: &raw::Named<raw::Site>, sites: &mut [Site]) {
    let keys: HashMap<&str, usize> = raw.0.iter().zip(0..).map(|((key, _), id)| (key.get_ref().as_str(), id)).collect();
    let mut edges: Vec<Vec<Edge>> = Vec::with_capacity(sites.len());
    for ((key, raw), site) in raw.0.iter().zip(sites) {
        let mut reader = Reader { report, section: section(&["site", key.get_ref()]), header: key.span() };
        let list = reader.list("depends_on", &raw.depends_on).unwrap_or_default();
        let on = each(&mut reader, list, ("Sites", ON_MAX), |reader, text| {
            let word = text.get_ref().as_str();
            if let Some(id) = keys.get(word) {
                return Some((*id, word.to_owned()));
            }
            let help = match reader.report.did_you_mean(word, keys.keys().copied()) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => "give the key of a Site of this file".into(),
            };
            reader.error(text.span(), format!("there is no Site `{word}`")).label("no such Site").help(help);
            None
        });
        site.depends_on = on.iter().map(|on| SiteId(*on.get_ref())).collect();
        edges.push(on.into_iter().map(|on| (*on.get_ref(), on.span())).collect());
    }
    let name = |site: usize| raw.0[site].0.get_ref().as_str();
    for cycle in cycles(&edges) {
        let words: Vec<&str> = cycle.iter().map(|(site, ..)| name(*site)).collect();
        let (first, span) = &cycle[0];
        let mut reader = Reader { report, section: section(&["site", name(*first)]), header: span.clone() };
        let problem = reader.error(span.clone(), format!("Site `{}` depends on itself", name(*first)));
        problem.label("from here");
        for (_, other) in &cycle[1..] {
            problem.also(other.clone(), "by way of this");
        }
        problem.help(format!("take one of these out: {} -> {}", words.join(" -> "), name(*first)));
    }
}

/// Finds cycles: of each the Sites in their order, each with where it names the next one.
fn cycles(edges: &[Vec<Edge>]) -> Vec<Vec<Edge>> {
    let mut found = Vec::new();
    let mut is_done = vec![false; edges.len()];
    let mut depth = vec![None; edges.len()];
    for first in 0..edges.len() {
        // The way so far: Sites, each with how many of its edges have been looked at.
        let mut way: Vec<(usize, usize)> = Vec::new();
        if !is_done[first] {
            (depth[first], way) = (Some(0), vec![(first, 0)]);
        }
        while let Some((site, looked)) = way.last_mut() {
            let Some((on, _)) = edges[*site].get(*looked) else {
                (is_done[*site], depth[*site]) = (true, None);
                way.pop();
                continue;
            };
            *looked += 1;
            if let Some(begin) = depth[*on] {
                let edge = |(site, looked): &(usize, usize)| (*site, edges[*site][looked - 1].1.clone());
                let cycle: Vec<Edge> = way[begin..].iter().map(edge).collect();
                found.push(cycle);
                if found.len() == CYCLES_MAX {
                    return found;
                }
            } else if !is_done[*on] {
                depth[*on] = Some(way.len());
                way.push((*on, 0));
            }
        }
    }
    found
}
