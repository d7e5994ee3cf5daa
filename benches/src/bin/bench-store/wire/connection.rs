//! One connection with its clients, each of which has one request on the way.

use super::fields::{self, Fields};
use super::request::{self, Request};
use crate::load;
use anyhow::{Context as _, Result, bail, ensure};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const PATH: &str = "/etcdserverpb.KV/Txn";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Kinds of frames (RFC 9113, 6) and their flags.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;
/// Settings.
const TABLE_SIZE: u16 = 1;
const MAX_STREAMS: u16 = 3;
const STREAM_WINDOW: u16 = 4;
/// What each side may send before it is told that it may send more.
const FIRST_WINDOW: i64 = 65_535;
/// What the server may send in all before it is told that it may send as much again.
const ANSWERS: u32 = 1 << 30;

/// How long the server may be silent.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Somebody who asks again as soon as the answer is there.
struct Client {
    request: Request,
    /// of the request on the way; 0 if there is none
    stream: u32,
    asked: Instant,
    answer: Vec<u8>,
    well: bool,
    revision: u64,
}

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    authority: String,
    fields: Fields,
    clients: Vec<Client>,
    /// those without a request on the way
    idle: Vec<usize>,
    next_stream: u32,
    /// bytes of requests that the server takes now
    window: i64,
    /// and of a single one
    stream_window: i64,
    settled: bool,
    taken: u32,
    read: Vec<u8>,
    filled: usize,
    out: Vec<u8>,
    lowest: u64,
    pub(super) times: Vec<Duration>,
}

impl Connection {
    /// Connects, and waits until the server has said what it takes.
    pub(super) fn open(address: SocketAddr, requests: Vec<Request>) -> Result<Self> {
        let stream = TcpStream::connect(address).context("cannot connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let clients = requests.into_iter().map(|request| Client {
            request,
            stream: 0,
            asked: Instant::now(),
            answer: Vec::new(),
            well: false,
            revision: 0,
        });
        let clients: Vec<_> = clients.collect();
        let mut out = PREFACE.to_vec();
        request::frame(&mut out, SETTINGS, 0, 0, &[]);
        request::frame(&mut out, WINDOW, 0, 0, &ANSWERS.to_be_bytes());
        let mut connection = Self {
            stream,
            authority: address.to_string(),
            fields: Fields::default(),
            idle: (0..clients.len()).rev().collect(),
            clients,
            next_stream: 1,
            window: FIRST_WINDOW,
            stream_window: FIRST_WINDOW,
            settled: false,
            taken: 0,
            read: vec![0; 256 << 10],
            filled: 0,
            out,
            lowest: u64::MAX,
            times: Vec::new(),
        };
        while !connection.settled {
            connection.send()?;
            connection.hear()?;
        }
        connection.send()?;
        Ok(connection)
    }

    /// Whether all requests are answered.
    pub(super) fn rests(&self) -> bool {
        self.idle.len() == self.clients.len()
    }

    /// Revisions from the first that a client was told to the last.
    pub(super) fn revisions(&self) -> u64 {
        let told = self.clients.iter().map(|client| client.revision);
        (told.max().unwrap_or(0) + 1).saturating_sub(self.lowest)
    }

    /// Lets idle clients ask, as far as the server takes their requests.
    pub(super) fn ask(&mut self, until: Instant) {
        while let Some(&index) = self.idle.last() {
            let client = &mut self.clients[index];
            client.asked = Instant::now();
            let weight = client.request.weight();
            if client.asked >= until || weight > self.window {
                break;
            }
            self.idle.pop();
            self.window -= weight;
            client.stream = self.next_stream;
            let first = (client.stream == 1).then(|| fields::first(&self.authority, PATH));
            let block = first.as_deref().unwrap_or(fields::AGAIN);
            request::frame(&mut self.out, HEADERS, END_HEADERS, client.stream, block);
            let number = load::next_key();
            client.request.write(&mut self.out, client.stream, number);
            self.next_stream += 2;
        }
    }

    pub(super) fn send(&mut self) -> Result<()> {
        self.stream
            .write_all(&self.out)
            .context("cannot send requests")?;
        self.out.clear();
        Ok(())
    }

    /// Reads once what there is, and takes it apart.
    pub(super) fn hear(&mut self) -> Result<()> {
        let read = self.stream.read(&mut self.read[self.filled..]);
        let read = read.context("cannot read answers")?;
        ensure!(read > 0, "the server hung up");
        self.filled += read;
        let whole = std::mem::take(&mut self.read);
        let mut rest = &whole[..self.filled];
        while let Some((head, more)) = rest.split_first_chunk::<9>() {
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some(payload) = more.get(..len) else {
                ensure!(len <= 16 << 10, "a frame that is larger than asked for");
                break;
            };
            rest = &more[len..];
            let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            self.frame(head[3], head[4], stream, payload)?;
        }
        let left = rest.len();
        let start = self.filled - left;
        self.read = whole;
        self.read.copy_within(start..self.filled, 0);
        self.filled = left;
        Ok(())
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
        match kind {
            DATA => {
                ensure!(flags & PADDED == 0, "data with padding");
                self.taken += u32::try_from(payload.len())?;
                if self.taken > ANSWERS / 2 {
                    let more = std::mem::take(&mut self.taken).to_be_bytes();
                    request::frame(&mut self.out, WINDOW, 0, 0, &more);
                }
                let index = self.client(stream)?;
                self.clients[index].answer.extend(payload);
                self.ended(index, flags)
            }
            HEADERS => {
                let plain = flags & (PADDED | PRIORITY) == 0 && flags & END_HEADERS != 0;
                ensure!(plain, "headers in another form than known here");
                let index = self.client(stream)?;
                self.clients[index].well |= self.fields.read(payload)?;
                self.ended(index, flags)
            }
            SETTINGS if flags & ACK == 0 => self.settle(payload),
            PING if flags & ACK == 0 => {
                request::frame(&mut self.out, PING, ACK, 0, payload);
                Ok(())
            }
            WINDOW if stream == 0 => {
                let more = payload.first_chunk().context("a short frame")?;
                self.window += i64::from(u32::from_be_bytes(*more));
                Ok(())
            }
            RESET => bail!("the server reset a stream: {payload:?}"),
            GO_AWAY => bail!("the server goes away: {}", payload.escape_ascii()),
            CONTINUATION => bail!("headers in several frames"),
            // Answers to what was said here, windows of single requests, which are small.
            _ => Ok(()),
        }
    }

    fn client(&self, stream: u32) -> Result<usize> {
        let mut clients = self.clients.iter();
        let index = clients.position(|client| client.stream == stream);
        index.filter(|_| stream != 0).context("an answer to nobody")
    }

    /// The end of an answer, if that is what the flags say.
    fn ended(&mut self, index: usize, flags: u8) -> Result<()> {
        if flags & END_STREAM == 0 {
            return Ok(());
        }
        let client = &mut self.clients[index];
        ensure!(client.well, "an answer without a status");
        let revision = request::revision(&client.answer)?;
        self.times.push(client.asked.elapsed());
        ensure!(
            revision > client.revision,
            "revision {revision} after {}",
            client.revision
        );
        client.revision = revision;
        self.lowest = self.lowest.min(revision);
        client.stream = 0;
        client.well = false;
        client.answer.clear();
        self.idle.push(index);
        Ok(())
    }

    fn settle(&mut self, settings: &[u8]) -> Result<()> {
        for setting in settings.chunks_exact(6) {
            let name = u16::from_be_bytes([setting[0], setting[1]]);
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            match name {
                TABLE_SIZE => ensure!(value >= 4096, "a table of {value} bytes only"),
                MAX_STREAMS => ensure!(
                    value as usize >= self.clients.len(),
                    "{value} requests at once only"
                ),
                STREAM_WINDOW => self.stream_window = i64::from(value),
                _ => {}
            }
        }
        let mut weights = self.clients.iter().map(|client| client.request.weight());
        let fits = weights.all(|weight| weight <= self.stream_window);
        ensure!(fits, "a request is sent in one piece or not at all");
        request::frame(&mut self.out, SETTINGS, ACK, 0, &[]);
        self.settled = true;
        Ok(())
    }
}
