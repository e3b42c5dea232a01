//! A set of records into its signature (RFC 4034 section 3.1.8.1).

use bytes::Bytes;
use domain::{
    base::{CanonicalOrd, Name, Rtype, ToName, Ttl, iana::Class, rdata::ComposeRecordData, wire::Composer},
    rdata::{
        ZoneRecordData,
        dnssec::{ProtoRrsig, Rrsig},
    },
};

use zerottl_core::model;

use super::{
    key::{SetSignature, SigningKey},
    store::{self, SetDigest},
    validity::Validity,
};

/// Record data, names uncompressed.
pub type SignedData = ZoneRecordData<Bytes, model::Name>;

/// Records of one name and type, to be signed.
#[derive(Clone, Copy, Debug)]
pub struct RecordSet<'a> {
    /// Their owner; a wildcard's own name where one stands for others.
    pub owner: &'a Name<[u8]>,
    /// Their type.
    pub rtype: Rtype,
    /// Their TTL in the zone, seconds.
    pub ttl: u32,
    /// Their data, in any order.
    pub data: &'a [SignedData],
}

impl RecordSet<'_> {
    /// The RRSIG's data but for the signature.
    fn head(&self, signer: &model::Name, key: &SigningKey, validity: Validity) -> ProtoRrsig<model::Name> {
        ProtoRrsig::new(
            self.rtype,
            key.algorithm(),
            labels(self.owner),
            Ttl::from_secs(self.ttl),
            validity.expiration.into(),
            validity.inception.into(),
            key.tag(),
            signer.clone(),
        )
    }

    /// The bytes that are signed.
    fn message(&self, signer: &model::Name, key: &SigningKey, validity: Validity) -> Vec<u8> {
        let mut message = Vec::with_capacity(256);
        let Ok(()) = self.head(signer, key, validity).compose_canonical(&mut message);
        self.records(message)
    }

    /// Adds the records in canonical form and order (RFC 4034 sections 6.2 and 6.3).
    fn records(&self, mut message: Vec<u8>) -> Vec<u8> {
        let mut data: Vec<_> = self.data.iter().collect();
        data.sort_by(|a, b| a.canonical_cmp(b));
        for data in data {
            let Ok(()) = self.compose(data, &mut message);
        }
        message
    }

    fn compose<T: Composer>(&self, data: &SignedData, to: &mut T) -> Result<(), T::AppendError> {
        self.owner.compose_canonical(to)?;
        self.rtype.compose(to)?;
        Class::IN.compose(to)?;
        Ttl::from_secs(self.ttl).compose(to)?;
        data.compose_canonical_len_rdata(to)
    }

    /// The digest of the records alone, by which a signature of theirs is found again.
    #[must_use]
    pub fn digest(&self) -> SetDigest {
        store::digest(&self.records(Vec::with_capacity(256)))
    }

    /// Signs them with a zone's key.
    #[must_use]
    pub fn sign(&self, signer: &model::Name, key: &SigningKey, validity: Validity) -> Option<SetSignature> {
        key.sign(&self.message(signer, key, validity))
    }

    /// The RRSIG with a signature that [`sign`](Self::sign) made at the same `validity`.
    ///
    /// # Panics
    /// Never: a name and a signature are under 65,536 bytes.
    #[must_use]
    pub fn rrsig(
        &self,
        signer: &model::Name,
        key: &SigningKey,
        validity: Validity,
        signature: &SetSignature,
    ) -> Rrsig<Bytes, model::Name> {
        let signature = Bytes::copy_from_slice(signature);
        self.head(signer, key, validity).into_rrsig(signature).expect("a name and a signature are under 65,536 bytes")
    }
}

/// Labels of an owner as an RRSIG counts them: without the root and without a first `*` (RFC 4034 section 3.1.3).
#[must_use]
pub fn labels(owner: &Name<[u8]>) -> u8 {
    let star = usize::from(owner.first().as_slice() == b"*");
    (owner.label_count() - 1 - star) as u8
}
