//! Why a packet went where it went.
//!
//! Every packet seen is counted under exactly one reason, and this enum is the only place where a reason becomes an
//! action: users meet the same names in `zerottl status`, `/metrics` and `zerottl trace`.

/// The fate of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sent back by the port it came in on, as the answer (`XDP_TX`).
    Answer,
    /// Dropped (`XDP_DROP`).
    Drop,
    /// Passed up the stack, unmodified (`XDP_PASS`).
    Pass,
    /// Dropped because an invariant of ours failed (`XDP_ABORTED`); always zero.
    Abort,
}

impl Action {
    /// The word for it in metrics and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Drop => "drop",
            Self::Pass => "pass",
            Self::Abort => "abort",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $action:ident $name:literal,)+) => {
        /// Why a packet went where it went.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Reason {
            /// All of them, in the order of the counters map.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Returns the action on the packet.
            #[inline(always)]
            #[must_use]
            pub const fn action(self) -> Action {
                match self {
                    $(Self::$variant => Action::$action,)+
                }
            }

            /// The name users see.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+),)+
                }
            }
        }
    };
}

reasons! {
    /// An A question, answered with one address.
    AnswerA = Answer "answer-a",
    /// An AAAA question, answered with one address.
    AnswerAaaa = Answer "answer-aaaa",
    /// An HTTPS question, answered with one Site's record.
    AnswerHttps = Answer "answer-https",
    /// A name of ours without data of the type asked for: NODATA with the zone's SOA.
    AnswerNodata = Answer "answer-nodata",
    /// A name that does not exist in a zone of ours: NXDOMAIN with the zone's SOA.
    AnswerNxdomain = Answer "answer-nxdomain",
    /// A name in no zone of ours: REFUSED.
    AnswerRefused = Answer "answer-refused",
    /// All Sites down and `all_down = servfail`: SERVFAIL.
    AnswerServfail = Answer "answer-servfail",
    /// An EDNS version other than 0: BADVERS.
    AnswerBadvers = Answer "answer-badvers",
    /// Addresses or an HTTPS record, with its signature.
    AnswerSigned = Answer "answer-signed",
    /// NODATA with its signed proof.
    AnswerSignedNodata = Answer "answer-signed-nodata",
    /// NXDOMAIN with its signed proofs.
    AnswerSignedNxdomain = Answer "answer-signed-nxdomain",
    /// More bytes of signed answers than its client network may have: truncated (TC), so that a real client asks by TCP.
    AnswerSignedBytes = Answer "answer-signed-bytes",
    /// The answer would not fit the client's buffer, or be over 2.5 times the query: truncated (TC).
    AnswerTruncated = Answer "answer-truncated",

    /// Over the client network's rate: one of those that are sent truncated (TC), so that a real client asks by TCP.
    AnswerSlip = Answer "answer-slip",
    /// Over the client network's rate, and answered all the same: a dry run.
    AnswerOverLimit = Answer "answer-over-limit",

    /// Over the client network's rate.
    DropLimited = Drop "drop-limited",
    /// A DNS response (QR=1) sent to us.
    DropResponse = Drop "drop-response",
    /// Fewer bytes than a DNS header.
    DropShort = Drop "drop-short",
    /// UDP source port 0: nobody to answer.
    DropSourcePort = Drop "drop-source-port",
    /// A source no host may answer: ours, unspecified, loopback, multicast or broadcast.
    DropSource = Drop "drop-source",

    /// Neither IPv4 nor IPv6.
    PassEthertype = Pass "pass-ethertype",
    /// A VLAN that this host is not in, or more than two VLAN tags.
    PassVlan = Pass "pass-vlan",
    /// Ends before the headers it announces.
    PassTruncated = Pass "pass-truncated",
    /// The IP version field contradicts the Ethertype.
    PassVersion = Pass "pass-version",
    /// IPv4 with options.
    PassIpv4Options = Pass "pass-ipv4-options",
    /// A fragment.
    PassFragment = Pass "pass-fragment",
    /// Neither UDP nor anything else we look into: TCP, ICMP, IPv6 extension headers.
    PassProtocol = Pass "pass-protocol",
    /// Not to a served address and port.
    PassNotOurs = Pass "pass-not-ours",
    /// To our address, but not to our MAC.
    PassMac = Pass "pass-mac",
    /// The IP length is too short or reaches beyond the frame.
    PassIpLength = Pass "pass-ip-length",
    /// The UDP length contradicts the IP length.
    PassUdpLength = Pass "pass-udp-length",
    /// A wrong IPv4 header checksum; Linux drops it.
    PassIpChecksum = Pass "pass-ip-checksum",
    /// A wrong UDP checksum, or none over IPv6; Linux drops it.
    PassUdpChecksum = Pass "pass-udp-checksum",

    /// An opcode other than QUERY.
    PassOpcode = Pass "pass-opcode",
    /// Not exactly one question, or records where a query has none.
    PassCounts = Pass "pass-counts",
    /// A question name that is cut short, compressed, too long, or has a reserved label type.
    PassName = Pass "pass-name",
    /// A class other than IN.
    PassClass = Pass "pass-class",
    /// ANY, a zone transfer, or another type that no record has.
    PassType = Pass "pass-type",
    /// An additional record that is not a whole OPT.
    PassAdditional = Pass "pass-additional",
    /// More bytes after the question than the kernel sums up.
    PassLong = Pass "pass-long",
    /// Records of the records file, an alias, a name at or below a delegation, or signed ones that are not of the plan: for the socket path.
    PassStatic = Pass "pass-static",
    /// No such name, but a wildcard of the records file may stand for it.
    PassWildcard = Pass "pass-wildcard",
    /// A dynamic name whose role another machine has: the socket path refers to it.
    PassReferral = Pass "pass-referral",
    /// No plan published yet.
    PassNoPlan = Pass "pass-no-plan",
    /// The frame could not be grown at either end.
    PassNoRoom = Pass "pass-no-room",

    /// A map entry or a byte that must exist did not: a bug; please report it.
    Internal = Abort "internal",
}
