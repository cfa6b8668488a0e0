//! How many connections a listener keeps, in all and of one address. One too many is closed before it costs a handshake.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum_server::accept::Accept;
use clm_core::ip_range::network_of;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Most connections of a listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MostConnections {
    /// From everywhere.
    pub(crate) in_all: usize,
    /// From one address, or one IPv6 network (/64).
    pub(crate) per_address: usize,
}

/// The connections of a listener. Forgets an address with its last connection.
#[derive(Debug)]
struct Open {
    most: MostConnections,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    in_all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Open {
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let network = network_of(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = counts.by_address.get(&network).copied().unwrap_or(0);
        if counts.in_all >= self.most.in_all || of_address >= self.most.per_address {
            return None;
        }
        counts.in_all += 1;
        counts.by_address.insert(network, of_address + 1);
        drop(counts);
        Some(Place { open: Arc::clone(self), network })
    }

    fn leave(&self, network: IpAddr) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.in_all = counts.in_all.saturating_sub(1);
        if let Some(of_address) = counts.by_address.get_mut(&network) {
            *of_address -= 1;
            if *of_address == 0 {
                counts.by_address.remove(&network);
            }
        }
    }
}

/// Given back when dropped.
#[derive(Debug)]
struct Place {
    open: Arc<Open>,
    network: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.leave(self.network);
    }
}

/// Accepts connections while there are places, and then as `inner` does.
#[derive(Debug, Clone)]
pub(crate) struct Counted<A> {
    inner: A,
    open: Arc<Open>,
}

impl<A> Counted<A> {
    pub(crate) fn new(inner: A, most: MostConnections) -> Self {
        Self { inner, open: Arc::new(Open { most, counts: Mutex::default() }) }
    }
}

impl<A, S> Accept<TcpStream, S> for Counted<A>
where
    A: Accept<TcpStream, S>,
    A::Future: Send + 'static,
{
    type Stream = Held<A::Stream>;
    type Service = A::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let place = stream.peer_addr().map(|peer| self.open.enter(peer.ip()));
        // Does nothing before it is polled.
        let accepted = self.inner.accept(stream, service);
        Box::pin(async move {
            let place = place?.ok_or_else(|| io::Error::other("too many connections"))?;
            let (stream, service) = accepted.await?;
            Ok((Held { stream, _place: place }, service))
        })
    }
}

/// A connection with its place.
#[derive(Debug)]
pub(crate) struct Held<T> {
    stream: T,
    _place: Place,
}

impl<T: AsyncRead + Unpin> AsyncRead for Held<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Held<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(in_all: usize, per_address: usize) -> Arc<Open> {
        Arc::new(Open { most: MostConnections { in_all, per_address }, counts: Mutex::default() })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_leaves_room_for_others_and_all_together_end_somewhere() {
        let open = open(3, 2);
        let (one, other) = (address("2001:db8::1"), address("192.0.2.1"));
        let held = [open.enter(one), open.enter(address("2001:db8::2"))];
        assert!(held.iter().all(Option::is_some));
        assert!(open.enter(one).is_none());
        let last = open.enter(other);
        assert!(last.is_some() && open.enter(address("192.0.2.2")).is_none());
        drop(held);
        assert!(open.enter(one).is_some());
    }

    #[test]
    fn an_address_is_forgotten_with_its_last_connection() {
        let open = open(10, 10);
        let held: Vec<_> = (0..5).map(|_| open.enter(address("192.0.2.1"))).collect();
        drop(held);
        let counts = open.counts.lock().unwrap();
        assert_eq!((counts.in_all, counts.by_address.len()), (0, 0));
    }
}
