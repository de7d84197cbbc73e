//! Prio3 of the crate `prio`, on bytes: how a share of a report is prepared, and shares are added.

use interop::Vdaf;
use prio::{
    codec::{Encode, ParameterizedDecode},
    vdaf::{
        prio3::{Prio3, Prio3InputShare, Prio3PrepareMessage, Prio3PrepareShare, Prio3PrepareState},
        Aggregatable, AggregateShare, Aggregator, PrepareTransition, Vdaf as _, VdafError,
    },
};

pub type VerifyKey = [u8; 16];

/// Why a report cannot be prepared: it is malformed, or it is no proof of a valid measurement.
#[derive(Debug)]
pub struct Invalid;

impl From<VdafError> for Invalid {
    fn from(_: VdafError) -> Self {
        Self
    }
}

impl From<prio::codec::CodecError> for Invalid {
    fn from(_: prio::codec::CodecError) -> Self {
        Self
    }
}

/// What an aggregator keeps of a report between the two steps, and the share that the other one needs.
pub struct Prepared {
    state: Vec<u8>,
    pub share: Vec<u8>,
}

/// Do something with the VDAF itself, whose type depends on which it is.
macro_rules! with {
    ($vdaf:expr, $concrete:ident => $body:expr) => {
        match $vdaf {
            Vdaf::Count => {
                let $concrete = Prio3::new_aes128_count(2)?;
                $body
            }
            Vdaf::Sum { bits } => {
                let $concrete = Prio3::new_aes128_sum(2, *bits)?;
                $body
            }
            Vdaf::Histogram { buckets } => {
                let $concrete = Prio3::new_aes128_histogram(2, buckets)?;
                $body
            }
        }
    };
}

/// Begin to prepare an input share, as the aggregator of that number: 0 is the leader, 1 the helper.
pub fn begin(vdaf: &Vdaf, number: usize, key: &VerifyKey, nonce: &[u8], input: &[u8]) -> Result<Prepared, Invalid> {
    with!(vdaf, prio3 => {
        let input = Prio3InputShare::get_decoded_with_param(&(&prio3, number), input)?;
        let (state, share) = prio3.prepare_init(key, number, &(), nonce, &(), &input)?;
        Ok(Prepared { state: state.get_encoded(), share: share.get_encoded() })
    })
}

/// Put the shares of both together; return the leader's output and the message that the helper needs for its own.
pub fn combine(vdaf: &Vdaf, prepared: &Prepared, helpers: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Invalid> {
    with!(vdaf, prio3 => {
        let state = Prio3PrepareState::get_decoded_with_param(&(&prio3, 0), &prepared.state)?;
        let own = Prio3PrepareShare::get_decoded_with_param(&state, &prepared.share)?;
        let other = Prio3PrepareShare::get_decoded_with_param(&state, helpers)?;
        let message = prio3.prepare_preprocess([own, other])?;
        let sent = message.get_encoded();
        match prio3.prepare_step(state, message)? {
            PrepareTransition::Finish(output) => Ok(((&prio3.aggregate(&(), [output])?).into(), sent)),
            PrepareTransition::Continue(..) => Err(Invalid),
        }
    })
}

/// Return the helper's output.
pub fn finish(vdaf: &Vdaf, prepared: &Prepared, message: &[u8]) -> Result<Vec<u8>, Invalid> {
    with!(vdaf, prio3 => {
        let state = Prio3PrepareState::get_decoded_with_param(&(&prio3, 1), &prepared.state)?;
        let message = Prio3PrepareMessage::get_decoded_with_param(&state, message)?;
        match prio3.prepare_step(state, message)? {
            PrepareTransition::Finish(output) => Ok((&prio3.aggregate(&(), [output])?).into()),
            PrepareTransition::Continue(..) => Err(Invalid),
        }
    })
}

/// Return the sum of shares.
pub fn sum<'a>(vdaf: &Vdaf, shares: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, Invalid> {
    with!(vdaf, prio3 => {
        let mut total = prio3.aggregate(&(), [])?;
        debug_assert_eq!(prio3.num_aggregators(), 2);
        for share in shares {
            total.merge(&AggregateShare::try_from(share).map_err(|_| Invalid)?)?;
        }
        Ok((&total).into())
    })
}
