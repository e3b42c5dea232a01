//! Types whose text is more than one field after the other: LOC, APL, HIP, AMTRELAY, NSAP, ATMA, WKS.

use std::net::{Ipv4Addr, Ipv6Addr};

use domain::{base::Rtype, utils::base64};

use super::words::{Field, Words, from_hex};
use crate::fault::Fault;

/// Reads all of one type's data.
pub(super) type Reads = fn(&mut Words<'_>) -> Result<(), Fault>;

/// Returns the function that reads a type's data; none for types that are read otherwise.
pub(super) fn reader(rtype: Rtype) -> Option<Reads> {
    Some(match rtype.to_int() {
        11 => wks,
        22 => nsap,
        29 => loc,
        34 => atma,
        42 => apl,
        55 => hip,
        260 => amtrelay,
        _ => return None,
    })
}

/// RFC 1035 section 3.4.2: an address, a protocol, and ports as a bitmap.
fn wks(words: &mut Words<'_>) -> Result<(), Fault> {
    words.field(Field::Ipv4)?;
    let protocol = words.word("a protocol")?;
    let number = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => 6,
        "udp" => 17,
        other => other.parse().map_err(|_| words.fault("expected tcp, udp or a protocol's number"))?,
    };
    words.out.push(number);
    let mut bits = Vec::new();
    while words.has_more() {
        let word = words.word("a port")?;
        let port = match word.to_ascii_lowercase().as_str() {
            "ftp" => 21,
            "ssh" => 22,
            "telnet" => 23,
            "smtp" => 25,
            "domain" => 53,
            "http" => 80,
            "https" => 443,
            other => other.parse::<u16>().map_err(|_| words.fault("expected a port's number"))?,
        };
        let at = usize::from(port / 8);
        if bits.len() <= at {
            bits.resize(at + 1, 0_u8);
        }
        bits[at] |= 0x80 >> (port % 8);
    }
    words.out.extend_from_slice(&bits);
    Ok(())
}

/// RFC 1706: hexadecimal behind 0x, with dots anywhere.
fn nsap(words: &mut Words<'_>) -> Result<(), Fault> {
    let word = words.word("an address that begins with 0x")?;
    let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    let digits = digits.ok_or_else(|| words.fault("expected an address that begins with 0x"))?.replace('.', "");
    words.hex(&digits)
}

/// ATM Forum: E.164 behind a +, or hexadecimal, with dots anywhere.
fn atma(words: &mut Words<'_>) -> Result<(), Fault> {
    let word = words.word("an ATM address")?.replace('.', "");
    if let Some(number) = word.strip_prefix('+') {
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(words.fault("expected digits after the +"));
        }
        words.out.push(1);
        words.out.extend_from_slice(number.as_bytes());
        return Ok(());
    }
    words.out.push(0);
    words.hex(&word)
}

/// RFC 3123: `[!]family:address/prefix` …
fn apl(words: &mut Words<'_>) -> Result<(), Fault> {
    while words.has_more() {
        let word = words.word("a prefix")?;
        let bad = words.fault("expected [!]1:IPV4/LENGTH or [!]2:IPV6/LENGTH");
        let (not, item) = word.strip_prefix('!').map_or((0, word), |item| (0x80, item));
        let parts = item.split_once(':').and_then(|(family, rest)| Some((family, rest.split_once('/')?)));
        let Some((family, (address, prefix))) = parts else { return Err(bad) };
        let (mut address, bits) = match family {
            "1" => (address.parse::<Ipv4Addr>().map(|a| a.octets().to_vec()), 32),
            "2" => match address.parse::<Ipv6Addr>() {
                Ok(address) => (Ok(address.octets().to_vec()), 128),
                Err(_) => return Err(bad),
            },
            _ => return Err(bad),
        };
        let (Ok(address), Ok(prefix)) = (address.as_mut(), prefix.parse::<u8>()) else { return Err(bad) };
        if prefix > bits {
            return Err(bad);
        }
        let len = address.iter().rposition(|byte| *byte > 0).map_or(0, |last| last + 1);
        words.out.extend_from_slice(&[0, if bits == 32 { 1 } else { 2 }, prefix, not | len as u8]);
        words.out.extend_from_slice(&address[..len]);
    }
    Ok(())
}

/// RFC 8005 section 6: algorithm, identity tag, key, rendezvous servers.
fn hip(words: &mut Words<'_>) -> Result<(), Fault> {
    let algorithm: u8 = words.parsed("a number up to 255")?;
    let tag = words.word("hexadecimal digits")?;
    let tag = from_hex(tag).filter(|tag| (1..=255).contains(&tag.len()));
    let tag = tag.ok_or_else(|| words.fault("expected hexadecimal digits"))?;
    let key = words.word("base 64")?;
    let key: Vec<u8> = base64::decode(key).map_err(|error| words.fault(format!("expected base 64: {error}")))?;
    let key_len = u16::try_from(key.len()).map_err(|_| words.fault("the key is too long"))?;
    words.out.extend_from_slice(&[tag.len() as u8, algorithm]);
    words.out.extend_from_slice(&key_len.to_be_bytes());
    words.out.extend_from_slice(&tag);
    words.out.extend_from_slice(&key);
    while words.has_more() {
        words.name()?;
    }
    Ok(())
}

/// RFC 8777 section 4.3.1: precedence, discovery, type, relay.
fn amtrelay(words: &mut Words<'_>) -> Result<(), Fault> {
    let precedence: u8 = words.parsed("a number up to 255")?;
    let discovery: u8 = words.parsed("0 or 1")?;
    if discovery > 1 {
        return Err(words.fault("expected 0 or 1"));
    }
    let kind: u8 = words.parsed("a number from 0 to 3")?;
    if kind > 3 {
        return Err(words.fault("expected a number from 0 to 3"));
    }
    words.out.extend_from_slice(&[precedence, discovery << 7 | kind]);
    match kind {
        0 => {
            // A dot stands for no relay, and may be left out.
            if words.has_more() && words.word(".")? != "." {
                return Err(words.fault("expected . since type 0 has no relay"));
            }
        }
        1 => words.field(Field::Ipv4)?,
        2 => {
            let address: Ipv6Addr = words.parsed("an IPv6 address")?;
            words.out.extend_from_slice(&address.octets());
        }
        _ => words.name()?,
    }
    Ok(())
}

/// Thousandths of a second of arc of the equator and the prime meridian (RFC 1876 section 2).
const LOC_ZERO: i64 = 1 << 31;
/// Centimetres below the ellipsoid at which altitudes begin.
const LOC_BASE_CM: i64 = 10_000_000;

/// RFC 1876 section 3: `d1 [m1 [s1]] N|S d2 [m2 [s2]] E|W alt[m] [size[m] [horizontal[m] [vertical[m]]]]`.
fn loc(words: &mut Words<'_>) -> Result<(), Fault> {
    let latitude = loc_angle(words, 90, ["N", "S"])?;
    let longitude = loc_angle(words, 180, ["E", "W"])?;
    let altitude = loc_cm(words, "an altitude in metres")?.checked_add(LOC_BASE_CM);
    let altitude = altitude.and_then(|altitude| u32::try_from(altitude).ok());
    let altitude = altitude.ok_or_else(|| words.fault("expected -100000.00 to 42849672.95 metres"))?;
    // 1 m, 10 km, 10 m.
    let mut sizes = [0x12, 0x16, 0x13];
    for size in &mut sizes {
        if words.has_more() {
            let cm = loc_cm(words, "a size in metres")?;
            *size = loc_size(cm).ok_or_else(|| words.fault("expected 0 to 90000000.00 metres"))?;
        }
    }
    words.out.push(0);
    words.out.extend_from_slice(&sizes);
    for number in [latitude, longitude, altitude] {
        words.out.extend_from_slice(&number.to_be_bytes());
    }
    Ok(())
}

fn loc_angle(words: &mut Words<'_>, degrees_max: u32, [plus, minus]: [&str; 2]) -> Result<u32, Fault> {
    let degrees: u32 = words.parsed("degrees")?;
    let mut parts = [i64::from(degrees) * 3_600_000, 0, 0];
    for at in 1..=3 {
        let word = words.word(&format!("{plus} or {minus}"))?;
        let sign = if word.eq_ignore_ascii_case(plus) {
            1
        } else if word.eq_ignore_ascii_case(minus) {
            -1
        } else {
            let thousandths = (at < 3).then(|| decimal(word, 3)).flatten().filter(|part| (0..60_000).contains(part));
            let part = thousandths.filter(|part| at == 2 || part % 1_000 == 0);
            let part = part
                .ok_or_else(|| words.fault(format!("expected {plus} or {minus}, or minutes and seconds under 60")))?;
            parts[at] = if at == 1 { part * 60 } else { part };
            continue;
        };
        let angle: i64 = parts.iter().sum();
        if angle > i64::from(degrees_max) * 3_600_000 {
            return Err(words.fault(format!("more than {degrees_max} degrees")));
        }
        // At most 180 degrees, 648,000,000 thousandths, on either side.
        return u32::try_from(LOC_ZERO + sign * angle).map_err(|_| words.fault("too many degrees"));
    }
    Err(words.fault(format!("expected {plus} or {minus}")))
}

fn loc_cm(words: &mut Words<'_>, what: &str) -> Result<i64, Fault> {
    let word = words.word(what)?;
    let number = word.strip_suffix(['m', 'M']).unwrap_or(word);
    decimal(number, 2).ok_or_else(|| words.fault(format!("expected {what}")))
}

/// Centimetres as a digit and a power of ten, the lower of two between which they lie, as BIND has it.
fn loc_size(cm: i64) -> Option<u8> {
    let exponent = (0..=9_u8).rev().find(|exponent| 10_i64.pow((*exponent).into()) <= cm);
    match exponent {
        None => (cm == 0).then_some(0),
        Some(exponent) => {
            let digit = u8::try_from(cm / 10_i64.pow(exponent.into())).ok().filter(|digit| *digit <= 9)?;
            Some(digit << 4 | exponent)
        }
    }
}

/// A decimal number with at most so many digits behind the point, in units of the last.
fn decimal(word: &str, places: usize) -> Option<i64> {
    let (negative, digits) = word.strip_prefix('-').map_or((false, word), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 10 || fraction.len() > places || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let number: i64 = format!("{whole}{fraction:0<places$}").parse().ok()?;
    Some(if negative { -number } else { number })
}
