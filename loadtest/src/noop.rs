//! The ceiling: a hyper server that parses a JSON body and answers a fixed 200 of an access
//! answer's size. What farebox serves is compared with this, on the same machine in the same run.

use std::convert::Infallible;
use std::io;
use std::process::ExitCode;

use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::IgnoredAny;
use tokio::net::TcpListener;

use crate::Anything;

/// What farebox answers to the canonical request, to the byte.
const ANSWER: &[u8] = br#"{"requestedItems":[{"item":"PhotoPrint","version":"1.0","count":10,"totalTokensCharged":30,"lineItems":[{"rate":3,"activationId":"5c8ec4fd-512-0","tokensCharged":30}],"status":{"code":"101","description":"Successfully checked out"}},{"item":"CADPrint","version":"2.0","count":2,"totalTokensCharged":14,"lineItems":[{"rate":7,"activationId":"5c8ec4fd-512-0","tokensCharged":14}],"status":{"code":"101","description":"Successfully checked out"}}],"requester":{"type":"user","value":"LisaBarry"},"correlationId":"5c8ec4fd-f17f-4657-bf09-74a97ddc9f8b"}"#;

/// Where it listens.
#[derive(Args)]
pub struct Noop {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "ADDR")]
    listen: String,
}

impl Noop {
    /// Serves until it is stopped.
    ///
    /// # Errors
    /// If it cannot listen there.
    pub fn run(self) -> Result<ExitCode, Anything> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::bind(&self.listen).await?;
            println!("noop listening on http://{}", listener.local_addr()?);
            serve(listener).await?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Serves until it cannot accept any more.
///
/// # Errors
/// What the system says then.
pub async fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let connection =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
            let _ = connection.await; // A client that goes away is no event here.
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let parsed = serde_json::from_slice::<IgnoredAny>(&body).is_ok();
    let mut response =
        Response::new(Full::new(Bytes::from_static(if parsed { ANSWER } else { b"{}" })));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
