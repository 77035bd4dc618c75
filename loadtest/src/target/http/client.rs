//! One HTTP/1.1 connection, kept alive: hyper's own, driven by whoever asks, so that no other task
//! has to wake for an answer.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::http::response::Parts;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Anything;
use crate::target::reached;

type Transport = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;

/// A connection; made by the first request, and by the one after a failure.
pub struct Client {
    address: SocketAddr,
    link: Option<Link>,
}

struct Link {
    sender: SendRequest<Full<Bytes>>,
    transport: Pin<Box<Transport>>,
}

impl Client {
    /// To this address, some time.
    pub fn new(address: SocketAddr) -> Client {
        Client { address, link: None }
    }

    /// Makes a connection where there is none.
    ///
    /// # Errors
    /// If nobody takes it in time.
    pub async fn reach(&mut self) -> Result<(), Anything> {
        if self.link.is_none() {
            self.link = Some(reached(Link::new(self.address)).await?);
        }
        Ok(())
    }

    /// Asks, and reads the whole answer. Dropped before, it leaves no connection behind.
    ///
    /// # Errors
    /// If there is no whole answer: where it could be reached, nobody knows whether the request
    /// arrived.
    pub async fn call(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Parts, Bytes), Anything> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => Link::new(self.address).await?,
        };
        let answer = link.call(request).await?;
        self.link = Some(link);
        Ok(answer)
    }
}

impl Link {
    async fn new(address: SocketAddr) -> Result<Link, Anything> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, transport) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Link { sender, transport: Box::pin(transport) })
    }

    async fn call(&mut self, request: Request<Full<Bytes>>) -> Result<(Parts, Bytes), Anything> {
        let Link { sender, transport } = self;
        let mut answer = pin!(async {
            sender.ready().await?;
            whole(sender.send_request(request).await?).await
        });
        poll_fn(|context| {
            if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            if let Poll::Ready(ended) = transport.as_mut().poll(context) {
                // What it received before it ended is there.
                return match (answer.as_mut().poll(context), ended) {
                    (Poll::Ready(answer), _) => Poll::Ready(answer),
                    (Poll::Pending, Err(error)) => Poll::Ready(Err(error.into())),
                    (Poll::Pending, Ok(())) => Poll::Ready(Err("the connection ended".into())),
                };
            }
            answer.as_mut().poll(context)
        })
        .await
    }
}

async fn whole(answer: Response<Incoming>) -> Result<(Parts, Bytes), Anything> {
    let (head, mut body) = answer.into_parts();
    let mut whole = Bytes::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            whole = if whole.is_empty() { data } else { [whole, data].concat().into() };
        }
    }
    Ok((head, whole))
}
