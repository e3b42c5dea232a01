//! Answers of the scripts, as values. A server is not trusted to keep to their shape: whatever else it says is a fault.

use redis::Value;

use crate::version::Epoch;

/// A session as one server has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// The epoch of its owner.
    pub(crate) epoch: Epoch,
    /// Its owner; empty if it has none.
    pub(crate) owner: String,
    /// The owner's lease; empty if it has none.
    pub(crate) lease: String,
    pub(crate) copy: CopyState,
}

/// The part of a record that a claim takes over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CopyState {
    /// The number of its last state here.
    pub(crate) number: u64,
    /// The epoch under which that was written; 0 if no state is here.
    pub(crate) written: Epoch,
    /// The servers that hold it by the last that is known here; empty if nothing is.
    pub(crate) set: String,
    /// The epoch of that.
    pub(crate) placed: Epoch,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The server is another than it was: it has been started anew, and empty.
    Incarnation(String),
    /// It is new, and not to be counted yet.
    Newcomer,
    /// The session has ended.
    Ended,
    /// The copy is kept; whether the server is still new.
    Kept { newcomer: bool },
    /// Somebody else owns the session.
    Fenced,
    /// The session as it is there.
    Record(Record),
    /// The claim's epoch is no higher than the one there.
    Higher(Epoch),
    /// The owner has a lease.
    Owned { lease: String },
    /// The claim is taken, with the state before it, and its data if that was asked for.
    Claimed { copy: CopyState, data: Option<Vec<u8>> },
    /// Given up.
    Released,
    /// The lease is granted.
    Lease { incarnation: String, kept: bool, newcomer: bool },
}

/// An answer of another shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session server gives answers that are none of its scripts'")]
pub(crate) struct Misshapen;

struct Fields(std::vec::IntoIter<Value>);

impl Fields {
    fn bytes(&mut self) -> Result<Vec<u8>, Misshapen> {
        match self.0.next() {
            Some(Value::BulkString(bytes)) => Ok(bytes),
            Some(Value::SimpleString(text)) => Ok(text.into_bytes()),
            Some(Value::Int(number)) => Ok(number.to_string().into_bytes()),
            _ => Err(Misshapen),
        }
    }

    fn text(&mut self) -> Result<String, Misshapen> {
        String::from_utf8(self.bytes()?).map_err(|_| Misshapen)
    }

    fn number(&mut self) -> Result<u64, Misshapen> {
        self.text()?.parse().map_err(|_| Misshapen)
    }

    fn flag(&mut self) -> Result<bool, Misshapen> {
        Ok(self.number()? != 0)
    }

    fn epoch(&mut self) -> Result<Epoch, Misshapen> {
        self.number().map(Epoch)
    }

    fn copy(&mut self) -> Result<CopyState, Misshapen> {
        Ok(CopyState { number: self.number()?, written: self.epoch()?, set: self.text()?, placed: self.epoch()? })
    }
}

impl Reply {
    /// Reads the answer of any script but that of leases.
    pub(crate) fn read(value: Value) -> Result<Self, Misshapen> {
        let Value::Array(values) = value else { return Err(Misshapen) };
        let mut fields = Fields(values.into_iter());
        Ok(match &*fields.text()? {
            "incarnation" => Self::Incarnation(fields.text()?),
            "newcomer" => Self::Newcomer,
            "ended" => Self::Ended,
            "kept" => Self::Kept { newcomer: fields.flag()? },
            "fenced" => Self::Fenced,
            "record" => Self::Record(Record {
                epoch: fields.epoch()?,
                owner: fields.text()?,
                lease: fields.text()?,
                copy: fields.copy()?,
            }),
            "higher" => Self::Higher(fields.epoch()?),
            "owned" => {
                let _ = (fields.epoch()?, fields.text()?);
                Self::Owned { lease: fields.text()? }
            }
            "claimed" => {
                let copy = fields.copy()?;
                let has = fields.flag()?;
                let data = fields.bytes()?;
                Self::Claimed { copy, data: has.then_some(data) }
            }
            "released" => Self::Released,
            _ => return Err(Misshapen),
        })
    }

    /// Reads the answer to a call that keeps so many copies, or ends one session.
    pub(crate) fn read_all(value: Value, count: usize) -> Vec<Result<Self, Misshapen>> {
        let refusals = match value {
            Value::Array(mut values) if values.len() > 2 => {
                let refusals = values.split_off(2);
                (Self::read(Value::Array(values)), refusals)
            }
            value => (Self::read(value), Vec::new()),
        };
        let (all, refusals) = refusals;
        let mut replies = vec![all; count];
        let mut fields = Fields(refusals.into_iter());
        while fields.0.len() > 0 {
            let at = fields.number().ok().and_then(|at| usize::try_from(at).ok());
            let refusal = match fields.text().as_deref() {
                Ok("ended") => Ok(Self::Ended),
                Ok("fenced") => Ok(Self::Fenced),
                _ => Err(Misshapen),
            };
            match at.and_then(|at| replies.get_mut(at)) {
                Some(reply) if refusal.is_ok() => *reply = refusal,
                _ => return vec![Err(Misshapen); count],
            }
        }
        replies
    }

    /// Reads the answer of the script of leases.
    pub(crate) fn read_lease(value: Value) -> Result<Self, Misshapen> {
        let Value::Array(values) = value else { return Err(Misshapen) };
        let mut fields = Fields(values.into_iter());
        Ok(Self::Lease { incarnation: fields.text()?, kept: fields.flag()?, newcomer: fields.flag()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(fields: &[&str]) -> Value {
        Value::Array(fields.iter().map(|field| Value::BulkString(field.as_bytes().to_vec())).collect())
    }

    #[test]
    fn answers_about_many_copies_are_read() {
        let kept = || Ok(Reply::Kept { newcomer: false });
        for (fields, replies) in [
            (&["kept", "0"][..], [kept(), kept(), kept()]),
            (&["kept", "0", "2", "ended"], [kept(), kept(), Ok(Reply::Ended)]),
            (&["kept", "0", "0", "fenced", "1", "ended"], [Ok(Reply::Fenced), Ok(Reply::Ended), kept()]),
        ] {
            assert_eq!(Reply::read_all(array(fields), 3), replies, "{fields:?}");
        }
        let incarnation = Reply::Incarnation("x".into());
        assert_eq!(Reply::read_all(array(&["incarnation", "x"]), 2), vec![Ok(incarnation); 2]);
        // Of the script that ends one.
        assert_eq!(Reply::read_all(array(&["fenced"]), 1), [Ok(Reply::Fenced)]);
        for fields in [&["kept", "0", "3", "ended"][..], &["kept", "0", "1"], &["kept", "0", "1", "else"], &["kept"]] {
            assert_eq!(Reply::read_all(array(fields), 3), vec![Err(Misshapen); 3], "{fields:?}");
        }
        assert_eq!(Reply::read_all(Value::Nil, 1), [Err(Misshapen)]);
    }

    #[test]
    fn answers_are_read() {
        let copy = CopyState { number: 7, written: Epoch(9), set: "a,b".into(), placed: Epoch(8) };
        for (fields, reply) in [
            (&["incarnation", "x"][..], Reply::Incarnation("x".into())),
            (&["kept", "1"], Reply::Kept { newcomer: true }),
            (&["fenced"], Reply::Fenced),
            (&["claimed", "7", "9", "a,b", "8", "0", ""], Reply::Claimed { copy: copy.clone(), data: None }),
            (
                &["claimed", "7", "9", "a,b", "8", "1", ""],
                Reply::Claimed { copy: copy.clone(), data: Some(Vec::new()) },
            ),
            (
                &["record", "9", "me", "", "7", "9", "a,b", "8"],
                Reply::Record(Record { epoch: Epoch(9), owner: "me".into(), lease: String::new(), copy }),
            ),
            (&["owned", "9", "me", "there"], Reply::Owned { lease: "there".into() }),
        ] {
            assert_eq!(Reply::read(array(fields)), Ok(reply), "{fields:?}");
        }
        for fields in [&[][..], &["kept"], &["kept", "x"], &["record", "9"], &["something"], &["higher", "-1"]] {
            assert_eq!(Reply::read(array(fields)), Err(Misshapen), "{fields:?}");
        }
        assert_eq!(Reply::read(Value::Nil), Err(Misshapen));
        let lease = Value::Array(vec![Value::BulkString(b"x".to_vec()), Value::Int(1), Value::Int(0)]);
        assert_eq!(Reply::read_lease(lease), Ok(Reply::Lease { incarnation: "x".into(), kept: true, newcomer: false }));
    }
}
