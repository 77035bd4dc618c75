//! THE byte layout of segments, batches and the mark of a clean stop. docs/journal-format.md draws
//! it. Owns encoding, checksums and the chain; reads and writes no file. All integers are
//! little-endian.

use aws_lc_rs::digest;

use crate::domain::ids::Sequence;

/// The chain hash of a batch: SHA-256 over its header (which holds the hash before it) and body.
pub type Hash = [u8; 32];

/// The longest record the journal takes.
pub const RECORD_BYTES_MAX: usize = 4 << 20;

pub(super) const VERSION: u32 = 3;
pub(super) const PAGE_BYTES: usize = 4096;
pub(super) const BATCH_HEADER_BYTES: usize = 88;
pub(super) const RECORD_PREFIX_BYTES: usize = 4;
/// Batches begin at multiples of this, so a search for one has an eighth of the places to look at.
pub(super) const ALIGNMENT: usize = 8;
/// The file that the last clean stop left.
pub(super) const END_FILE: &str = "end";

const SEGMENT_MAGIC: [u8; 8] = *b"fareboxJ";
const END_MAGIC: [u8; 8] = *b"fareboxE";
const CHECKSUM_BYTES: usize = 4;
/// Where the checksummed part of a batch begins: after the seal and the checksum itself.
const BATCH_CHECKED_FROM: usize = 12;
const MARK_BYTES: usize = 48;

const _: () = assert!(BATCH_HEADER_BYTES.is_multiple_of(ALIGNMENT));
const _: () = assert!(PAGE_BYTES.is_multiple_of(ALIGNMENT));
const _: () = assert!(usize::BITS == 64, "segments are addressed in memory");

/// What a batch of one segment begins with. It depends on the journal's id, which no client
/// knows, so that no record can hold bytes that pass for a batch when a torn tail is searched.
pub(super) type Seal = [u8; 8];

/// A place in the journal that can be recognised again: the last record of a batch, the epoch that
/// wrote it, and the chain hash there. Sequence 0 is the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The last record of the batch.
    pub sequence: Sequence,
    /// The start that wrote it; 0 at the beginning.
    pub epoch: u64,
    /// The chain hash after it.
    pub hash: Hash,
}

impl Mark {
    /// The place before the first record of a journal.
    pub fn beginning(journal: u128) -> Mark {
        let hash = sha256(&[b"farebox journal", &journal.to_le_bytes()]);
        Mark { sequence: Sequence::new(0), epoch: 0, hash }
    }

    pub(super) fn encode(&self) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        let mut fields = FieldsMut(&mut bytes);
        fields.put(self.sequence.get().to_le_bytes());
        fields.put(self.epoch.to_le_bytes());
        fields.put(self.hash);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Mark> {
        let mut fields = Fields(bytes);
        let sequence = Sequence::new(fields.u64()?);
        Some(Mark { sequence, epoch: fields.u64()?, hash: fields.take()? })
    }
}

/// What the first page of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) journal: u128,
    pub(super) index: u64,
    pub(super) epoch: u64,
    /// The first record that may be in it.
    pub(super) first: Sequence,
    /// The chain hash before it.
    pub(super) hash: Hash,
}

/// How a segment's first page reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// Prepared: all zeros.
    Unused,
    Used(SegmentHeader),
    /// Intact, but of another format.
    Other(u32),
    Bad(&'static str),
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut page = vec![0; PAGE_BYTES];
        let mut fields = FieldsMut(&mut page);
        fields.put(SEGMENT_MAGIC);
        fields.put(VERSION.to_le_bytes());
        fields.put(0_u32.to_le_bytes()); // The shard: always 0 until there is more than one.
        fields.put(self.journal.to_le_bytes());
        fields.put(self.index.to_le_bytes());
        fields.put(self.epoch.to_le_bytes());
        fields.put(self.first.get().to_le_bytes());
        fields.put(self.hash);
        append_checksum(page)
    }

    /// The seal of this segment's batches.
    pub(super) fn seal(&self) -> Seal {
        let parts: [&[u8]; 4] = [
            b"farebox batch",
            &self.journal.to_le_bytes(),
            &self.index.to_le_bytes(),
            &self.epoch.to_le_bytes(),
        ];
        sha256(&parts).first_chunk().copied().expect("a hash is longer than a seal")
    }
}

impl Page {
    /// Magic, version and the checksum in the last four bytes stay where they are in every
    /// version, so that a flipped bit is never taken for another format.
    pub(super) fn decode(page: &[u8]) -> Page {
        if page.len() != PAGE_BYTES {
            return Page::Bad("the file ends inside its first page");
        }
        if is_zero(page) {
            return Page::Unused;
        }
        let Some(content) = checked(page) else {
            return Page::Bad("the checksum of the segment's first page does not hold");
        };
        Page::fields(content).unwrap_or(Page::Bad("the segment's first page is too short"))
    }

    fn fields(content: &[u8]) -> Option<Page> {
        let mut fields = Fields(content);
        if fields.take()? != SEGMENT_MAGIC {
            return Some(Page::Bad("this is not a segment of a farebox journal"));
        }
        let version = fields.u32()?;
        if version != VERSION {
            return Some(Page::Other(version));
        }
        if fields.u32()? != 0 {
            return Some(Page::Bad("the segment names a shard, this journal has none"));
        }
        Some(Page::Used(SegmentHeader {
            journal: fields.u128()?,
            index: fields.u64()?,
            epoch: fields.u64()?,
            first: Sequence::new(fields.u64()?),
            hash: fields.take()?,
        }))
    }
}

/// What the header of a batch says; length, count and checksum follow from the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub(super) epoch: u64,
    pub(super) first: Sequence,
    pub(super) last: Sequence,
    /// What was durable when the batch was written.
    pub(super) durable: Sequence,
    pub(super) previous: Hash,
}

impl BatchHeader {
    /// Completes `batch` (room for the header, then the records): pads it, writes the header and
    /// the checksum. Answers the chain hash after it.
    pub(super) fn complete(&self, seal: Seal, batch: &mut Vec<u8>) -> Hash {
        assert!(batch.len() > BATCH_HEADER_BYTES, "a batch holds records");
        let body_bytes = batch.len() - BATCH_HEADER_BYTES;
        batch.resize(batch.len().next_multiple_of(ALIGNMENT), 0);
        let count = self.last.get() - self.first.get() + 1;

        let mut fields = FieldsMut(batch.as_mut_slice());
        fields.put(seal);
        fields.put([0; CHECKSUM_BYTES]);
        fields.put(narrow(fields.0.len() as u64 + BATCH_CHECKED_FROM as u64).to_le_bytes());
        fields.put(self.epoch.to_le_bytes());
        fields.put(self.first.get().to_le_bytes());
        fields.put(self.last.get().to_le_bytes());
        fields.put(self.durable.get().to_le_bytes());
        fields.put(narrow(count).to_le_bytes());
        fields.put(narrow(body_bytes as u64).to_le_bytes());
        fields.put(self.previous);

        let checked = batch.get(BATCH_CHECKED_FROM..).unwrap_or_default();
        let (checksum, hash) = (crc32c::crc32c(checked), sha256(&[checked]));
        let mut fields = FieldsMut(batch.get_mut(seal.len()..).unwrap_or_default());
        fields.put(checksum.to_le_bytes());
        hash
    }
}

/// A batch that was read back whole: its checksum holds and its records fit.
#[derive(Clone, Copy)]
pub(super) struct Batch<'a> {
    pub(super) header: BatchHeader,
    bytes: &'a [u8],
    body: &'a [u8],
}

/// A batch that was checked, without its bytes.
#[derive(Clone, Copy)]
pub(super) struct Found {
    header: BatchHeader,
    length: usize,
    body_bytes: usize,
    hash: Hash,
}

impl Found {
    /// The mark at its end.
    pub(super) fn mark(&self) -> Mark {
        let BatchHeader { last, epoch, .. } = self.header;
        Mark { sequence: last, epoch, hash: self.hash }
    }
}

impl<'a> Batch<'a> {
    /// Reads the batch that `bytes` begin with.
    pub(super) fn decode(bytes: &'a [u8], seal: Seal) -> Result<Batch<'a>, &'static str> {
        let length = Batch::length_of(bytes, seal)?;
        let bytes = bytes.get(..length).ok_or("a batch is longer than the file")?;
        Batch::fields(bytes).ok_or("a batch is too short")?
    }

    /// The length that the header at the start of `bytes` claims, before anything is checked but
    /// its seal.
    pub(super) fn length_of(bytes: &[u8], seal: Seal) -> Result<usize, &'static str> {
        let mut fields = Fields(bytes);
        if fields.take() != Some(seal) {
            return Err("there is no batch of this segment");
        }
        let length = fields.u32().and_then(|_| fields.u32()).ok_or("the file ends in a batch")?;
        let length = in_memory(u64::from(length));
        if length <= BATCH_HEADER_BYTES || !length.is_multiple_of(ALIGNMENT) {
            return Err("a batch has an impossible length");
        }
        Ok(length)
    }

    /// Everything after the seal; `None` if there are fewer bytes than a header has.
    fn fields(bytes: &'a [u8]) -> Option<Result<Batch<'a>, &'static str>> {
        let mut fields = Fields(bytes.get(size_of::<Seal>()..)?);
        let checksum = fields.u32()?;
        if crc32c::crc32c(fields.0) != checksum {
            return Some(Err("the checksum of a batch does not hold"));
        }
        fields.u32()?; // The length: what `bytes` were cut to.
        let header = |fields: &mut Fields| {
            let (epoch, first, last) = (fields.u64()?, fields.u64()?, fields.u64()?);
            let durable = fields.u64()?;
            Some((epoch, Sequence::new(first), Sequence::new(last), Sequence::new(durable)))
        };
        let (epoch, first, last, durable) = header(&mut fields)?;
        let (count, body_bytes) = (fields.u32()?, in_memory(u64::from(fields.u32()?)));
        let header = BatchHeader { epoch, first, last, durable, previous: fields.take()? };
        let Some(body) = fields.0.get(..body_bytes) else {
            return Some(Err("the records of a batch are longer than the batch"));
        };
        let batch = Batch { header, bytes, body };
        let whole = batch.records().map(|(_, payload)| payload.len() + RECORD_PREFIX_BYTES);
        // Without records it would end before it begins, and both differences would be none.
        if first.get() == 0
            || count == 0
            || last.get().checked_sub(first.get()) != u64::from(count).checked_sub(1)
        {
            return Some(Err("a batch counts its records wrongly"));
        }
        let (found, found_bytes) = whole.fold((0, 0), |(n, sum), bytes| (n + 1, sum + bytes));
        if (found, found_bytes) != (u64::from(count), body_bytes) {
            return Some(Err("the records of a batch do not fill it"));
        }
        Some(Ok(batch))
    }

    /// The last record that a header claims, unchecked: to pass over batches on the way to one
    /// that is then checked.
    pub(super) fn claimed_last(header: &[u8]) -> Option<Sequence> {
        let mut fields = Fields(header.get(32..)?);
        Some(Sequence::new(fields.u64()?))
    }

    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// The chain hash after this batch.
    pub(super) fn hash(&self) -> Hash {
        sha256(&[self.bytes.get(BATCH_CHECKED_FROM..).unwrap_or_default()])
    }

    /// What is known of it now.
    pub(super) fn found(&self) -> Found {
        let (length, body_bytes) = (self.bytes.len(), self.body.len());
        Found { header: self.header, length, body_bytes, hash: self.hash() }
    }

    /// The batch that was found at the start of `bytes`.
    pub(super) fn again(found: &Found, bytes: &'a [u8]) -> Batch<'a> {
        let bytes = bytes.get(..found.length);
        let body = bytes.and_then(|bytes| bytes.get(BATCH_HEADER_BYTES..)?.get(..found.body_bytes));
        let (bytes, body) = bytes.zip(body).expect("found in these very bytes");
        Batch { header: found.header, bytes, body }
    }

    /// The records, in order.
    pub(super) fn records(&self) -> Records<'a> {
        Records { body: self.body, next: self.header.first }
    }
}

/// The records of one batch.
pub(super) struct Records<'a> {
    body: &'a [u8],
    next: Sequence,
}

impl<'a> Iterator for Records<'a> {
    type Item = (Sequence, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let mut fields = Fields(self.body);
        let length = in_memory(u64::from(fields.u32()?));
        let (payload, rest) = fields.0.split_at_checked(length)?;
        let sequence = self.next;
        (self.body, self.next) = (rest, sequence.next());
        Some((sequence, payload))
    }
}

/// What a record is preceded by.
pub(super) fn record_prefix(payload: &[u8]) -> [u8; RECORD_PREFIX_BYTES] {
    narrow(payload.len() as u64).to_le_bytes()
}

/// What the last clean stop left: how far this journal certainly goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) journal: u128,
    pub(super) mark: Mark,
}

impl End {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(END_MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(self.journal.to_le_bytes());
        bytes.extend(self.mark.encode());
        bytes.extend([0; CHECKSUM_BYTES]);
        append_checksum(bytes)
    }

    /// `Err(Some(version))` for an intact mark of another format, `Err(None)` for a bad one.
    pub(super) fn decode(bytes: &[u8]) -> Result<End, Option<u32>> {
        let mut fields = Fields(checked(bytes).ok_or(None)?);
        if fields.take() != Some(END_MAGIC) {
            return Err(None);
        }
        let version = fields.u32().ok_or(None)?;
        if version != VERSION {
            return Err(Some(version));
        }
        let journal = fields.u32().and_then(|_| fields.u128()).ok_or(None)?;
        Ok(End { journal, mark: Mark::decode(fields.0).ok_or(None)? })
    }
}

/// A length or offset of a file as one of memory, which is as wide (asserted above).
pub(super) fn in_memory(length: u64) -> usize {
    usize::try_from(length).expect("64 bits, asserted above")
}

/// True where there is nothing but zeros.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<64>();
    words.iter().all(|word| *word == [0; 64]) && rest.iter().all(|byte| *byte == 0)
}

/// SHA-256 over the parts, one after the other.
pub(super) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Overwrites the last four bytes with the checksum of those before.
pub(super) fn append_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let content = bytes.len().saturating_sub(CHECKSUM_BYTES);
    bytes.truncate(content);
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// The bytes before the checksum at the end, if it holds.
pub(super) fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (content, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    (crc32c::crc32c(content) == u32::from_le_bytes(*checksum)).then_some(content)
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).expect("batches are shorter than 4 GiB: Options are checked at open")
}

/// Fields read one after the other.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.take().map(u128::from_le_bytes)
    }
}

/// Fields written one after the other, into room that is there.
struct FieldsMut<'a>(&'a mut [u8]);

impl FieldsMut<'_> {
    fn put<const N: usize>(&mut self, field: [u8; N]) {
        let room = std::mem::take(&mut self.0);
        let (place, rest) = room.split_first_chunk_mut::<N>().expect("the layout has room");
        *place = field;
        self.0 = rest;
    }
}
