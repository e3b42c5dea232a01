//! Bundles as files: what is written is read again, and nothing else.

use std::fs;

use super::*;
use crate::{keyring, store::digest};
use zerottl_core::model::DnssecConfig;

const DAY: u64 = 86_400;
const NOW: u64 = 1_800_000_000;

fn name(text: &str) -> model::Name {
    model::Name::from_str(text).expect("a name")
}

fn periods() -> Vec<BundlePeriod> {
    BundlePeriod::covering(NOW, Duration::from_hours(24 * 7), Duration::from_hours(96), Duration::from_hours(24))
}

fn sorted() -> Vec<SetDigest> {
    let mut digests: Vec<_> = (0..100_u8).map(|n| digest(&[n])).collect();
    digests.sort_unstable();
    digests
}

/// Writes a bundle of some zones to a folder; the keys are there.
fn write(folder: &Path, zones: &[&str]) -> PathBuf {
    let path = folder.join("bundle");
    let mut writer = BundleWriter::create(&path).expect("created");
    for zone in zones {
        let zone = name(zone);
        let keys = keyring::open(&zone, &DnssecConfig::default(), folder).expect("keys");
        writer.zone(&zone, 7, &keys, sorted().iter()).expect("written");
        for (at, period) in periods().into_iter().enumerate() {
            let signatures: Vec<_> = (0..100).map(|n| [n ^ at as u8; SIGNATURE_LEN]).collect();
            let of_keys =
                KeySetSignature { digest: digest(b"keys"), tag: keys.all()[0].tag(), signature: [9; SIGNATURE_LEN] };
            writer.period(period, signatures.iter(), &[of_keys]).expect("written");
        }
    }
    let len = writer.finish().expect("written");
    assert_eq!(fs::metadata(&path).expect("there").len(), len);
    path
}

/// D-BUNDLE: the periods cover the time that is asked for, and each begins long before the one before it is over.
#[test]
fn periods_overlap_and_cover() {
    let periods = periods();
    assert_eq!(periods.len(), 4, "{periods:?}");
    assert_eq!(periods.last().map(|last| last.end), Some(NOW + 7 * DAY));
    for pair in periods.windows(2) {
        assert_eq!((pair[1].begin - pair[0].begin, pair[0].end - pair[1].begin), (DAY, 3 * DAY));
    }
    let hours = Duration::from_hours;
    assert_eq!(BundlePeriod::covering(NOW, hours(1), hours(96), hours(24)).len(), 1, "one is the least");
    assert_eq!(BundlePeriod::covering(NOW, hours(97), hours(96), hours(24)).len(), 2);
    let validity = periods[1].validity();
    assert_eq!((validity.inception, validity.expiration), ((NOW + DAY - 3600) as u32, (NOW + 5 * DAY) as u32));
}

/// D-BUNDLE: what is written is read again, without any secret; each period has its own signatures.
#[test]
fn a_bundle_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), &["app.com", "example.net"]);
    assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 2, "nothing is left beside it");
    let bundle = Bundle::open(&path).expect("a bundle");
    let zone = bundle.zone(&name("App.com")).expect("its zone");
    let own = keyring::open(&name("app.com"), &DnssecConfig::default(), folder.path()).expect("keys");
    assert!(zone.keys().is_same(&own) && zone.keys().zone_key().sign(b"text").is_none());
    assert_eq!((zone.serial(), zone.periods().len(), zone.end()), (7, 4, NOW + 7 * DAY));
    let digests = sorted();
    assert_eq!(zone.digests().expect("read"), digests);
    for at in 0..4 {
        let of = zone.signatures(at).expect("read");
        assert_eq!(of.find(&digests[3]), Some([3 ^ at as u8; SIGNATURE_LEN]));
        assert_eq!(of.find(&digest(b"another")), None);
        let tag = own.all()[0].tag();
        assert_eq!(of.find_of_keys(&digest(b"keys"), tag), Some([9; SIGNATURE_LEN]));
        assert_eq!(of.find_of_keys(&digest(b"keys"), !tag), None);
    }
    let secret = fs::read_dir(folder.path().join("keys/app.com.")).expect("there");
    let secret = secret.flatten().find(|entry| entry.path().extension().is_some_and(|ending| ending == "private"));
    let secret = fs::read_to_string(secret.expect("a secret").path()).expect("read");
    let line = secret.lines().find_map(|line| line.strip_prefix("PrivateKey: ")).expect("a private key");
    let whole = fs::read(&path).expect("read");
    assert!(!whole.windows(line.len()).any(|bytes| bytes == line.as_bytes()));
    let other = bundle.zone(&name("example.org")).expect_err("not there").to_string();
    assert!(other.contains("nothing of the zone example.org, only of app.com, example.net"), "{other}");
}

/// D-BUNDLE: the period of now is found, and none before the first and behind the last.
#[test]
fn each_time_has_its_period() {
    let folder = tempfile::tempdir().expect("a folder");
    let zone = Bundle::open(&write(folder.path(), &["app.com"])).and_then(|bundle| bundle.zone(&name("app.com")));
    let zone = zone.expect("a bundle");
    let at = |now: u64| zone.at(now).expect("a period");
    // A clock that is an hour behind is none that keeps it from being used.
    assert_eq!((at(NOW - 3600), at(NOW), at(NOW + DAY - 1), at(NOW + DAY)), (0, 0, 0, 1));
    assert_eq!((at(NOW + 3 * DAY), at(NOW + 7 * DAY)), (3, 3));
    let early = zone.at(NOW - 3601).expect_err("too early").to_string();
    assert!(early.contains("begins on 2027-01-15T08:00:00Z, and the clock here is at 2027-01-15T06:59:59Z"), "{early}");
    let over = zone.at(NOW + 7 * DAY + 1).expect_err("over").to_string();
    assert!(over.contains("is over since 2027-01-22T08:00:00Z"), "{over}");
}

/// D-BUNDLE: an altered or a truncated file is none; one that is altered while it is used is seen when it is read.
#[test]
fn damage_is_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(folder.path(), &["app.com"]);
    let whole = fs::read(&path).expect("read");
    let is_damaged = |path: &Path| matches!(Bundle::open(path), Err(BundleError::Damaged(_)));
    let other = folder.path().join("other");
    for at in [0, 20, 5000, whole.len() - 500, whole.len() - 40, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&other, &bytes).expect("written");
        assert!(is_damaged(&other), "byte {at}");
    }
    for len in [0, 1, 39, 40, 5000, whole.len() - 1] {
        fs::write(&other, &whole[..len]).expect("written");
        assert!(is_damaged(&other), "{len} bytes");
    }
    assert!(matches!(Bundle::open(&folder.path().join("none")), Err(BundleError::File { .. })));
    assert!(is_damaged(folder.path()), "a folder");
    let zone = Bundle::open(&path).and_then(|bundle| bundle.zone(&name("app.com"))).expect("a bundle");
    fs::write(&other, &whole).and_then(|()| fs::rename(&other, &path)).expect("put in its place");
    zone.signatures(1).expect("it is read from the file that was opened");
    let zone = Bundle::open(&path).and_then(|bundle| bundle.zone(&name("app.com"))).expect("a bundle");
    let mut bytes = whole.clone();
    bytes[MAGIC.len() + 100 * DIGEST_LEN] ^= 1;
    fs::write(&path, &bytes).expect("written over");
    assert!(matches!(zone.signatures(0), Err(BundleError::Damaged(_))));
    fs::write(&path, &whole[..1000]).expect("cut off");
    assert!(zone.digests().is_err());
    // One that fails leaves what there is.
    drop(BundleWriter::create(&path).expect("created"));
    assert_eq!(fs::read(&path).expect("read").len(), 1000);
    assert!(!folder.path().join("bundle.new").exists());
}
