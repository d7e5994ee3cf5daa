//! Where the host listens and by which names it is called.

use super::data_dir::Remembered;
use crate::cli::Trouble;
use anyhow::Result;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tokio::net::TcpListener;

/// The address when nobody says another.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6443);

/// A bound listener and the names for it.
pub(crate) struct Bound {
    pub(crate) listener: TcpListener,
    pub(crate) listen: SocketAddr,
    pub(crate) advertise: Vec<String>,
}

/// Binds what was asked for, else what was used before, else the default. A port of 0 takes the
/// port of the last time, or a free one.
pub(crate) async fn bind(
    asked: Option<SocketAddr>,
    advertise: &[String],
    before: &Remembered,
) -> Result<Bound> {
    let mut wanted = asked.or(before.listen).unwrap_or(DEFAULT);
    if let Some(last) = before
        .listen
        .filter(|last| wanted.port() == 0 && last.ip() == wanted.ip())
    {
        wanted = last;
    }
    let listener = TcpListener::bind(wanted).await.map_err(|e| {
        let advice = match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!("Another program listens there. Choose another port with --listen {}, or a free one with --listen {}.",
                    SocketAddr::new(wanted.ip(), wanted.port().checked_add(1).unwrap_or(6443)), SocketAddr::new(wanted.ip(), 0))
            }
            std::io::ErrorKind::AddrNotAvailable => "This machine does not have that address; choose one of its own with --listen.".to_owned(),
            std::io::ErrorKind::PermissionDenied => "Ports below 1024 need root; choose another with --listen.".to_owned(),
            _ => "Choose another address with --listen.".to_owned(),
        };
        Trouble::new(format!("cannot listen on {wanted}")).because(e).advise(advice)
    })?;
    let listen = listener.local_addr()?;
    let advertise = if advertise.is_empty() {
        before.advertise.clone()
    } else {
        advertise.to_vec()
    };
    Ok(Bound {
        listener,
        listen,
        advertise,
    })
}

impl Bound {
    /// What clients are told: the first advertised name, else the address itself.
    pub(crate) fn server(&self) -> String {
        server(&self.host(), self.listen.port())
    }

    /// The name or address part of [`Bound::server`].
    pub(crate) fn host(&self) -> String {
        self.advertise
            .first()
            .cloned()
            .unwrap_or_else(|| reachable(self.listen.ip()).to_string())
    }

    /// Every name and address that serving certificates are good for.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = vec![
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        names.push(reachable(self.listen.ip()).to_string());
        names.extend(self.advertise.iter().cloned());
        names.sort();
        names.dedup();
        names
    }
}

/// `https://host:port`, with brackets where an IPv6 address needs them.
pub(crate) fn server(host: &str, port: u16) -> String {
    if host.parse::<std::net::Ipv6Addr>().is_ok() {
        format!("https://[{host}]:{port}")
    } else {
        format!("https://{host}:{port}")
    }
}

/// "All addresses" is nothing a client can connect to.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn port_zero_finds_the_port_of_the_last_time_again() {
        let any = "127.0.0.1:0".parse().ok();
        let first = bind(any, &[], &Remembered::default()).await.unwrap();
        let remembered = Remembered {
            listen: Some(first.listen),
            advertise: Vec::new(),
        };
        let port = first.listen.port();
        assert_ne!(port, 0);
        let error = bind(any, &[], &remembered).await.err().unwrap().to_string();
        assert!(error.contains(&port.to_string()), "{error}");
        drop(first);
        assert_eq!(
            bind(any, &[], &remembered).await.unwrap().listen.port(),
            port
        );
    }

    #[tokio::test]
    async fn an_advertised_name_is_what_clients_are_told() {
        let any = "127.0.0.1:0".parse().ok();
        let bound = bind(
            any,
            &["fd00::1".to_owned(), "h.example".to_owned()],
            &Remembered::default(),
        )
        .await
        .unwrap();
        assert_eq!(
            bound.server(),
            format!("https://[fd00::1]:{}", bound.listen.port())
        );
        assert!(bound.names().contains(&"h.example".to_owned()));
    }
}
