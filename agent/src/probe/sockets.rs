//! The kernel's tables of sockets: `/proc/net/tcp`, `/proc/net/udp` and their IPv6 siblings.

use super::Faults;

/// One socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    /// The kernel's number of its state.
    pub(super) state: u8,
    /// Bytes that wait to be sent.
    pub(super) sends: u32,
    /// Bytes that wait to be taken by the program.
    pub(super) received: u32,
}

/// Reads lines such as `0: 0100007F:0016 00000000:0000 0A 00000015:00000000 …` below a heading.
pub(super) fn parse(file: &str, text: &str, faults: &mut Faults, mut take: impl FnMut(Socket)) {
    for (at, line) in text.lines().enumerate().skip(1) {
        match parse_line(line) {
            Some(socket) => take(socket),
            None => faults.value(file, at + 1, "socket", "its state or queues cannot be read"),
        }
    }
}

fn parse_line(line: &str) -> Option<Socket> {
    let mut words = line.split_ascii_whitespace().skip(3);
    let state = u8::from_str_radix(words.next()?, 16).ok()?;
    let (sends, received) = words.next()?.split_once(':')?;
    let bytes = |text| u32::from_str_radix(text, 16).ok();
    Some(Socket { state, sends: bytes(sends)?, received: bytes(received)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_read_and_garbage_is_counted() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue\n\
            \x20  0: 0100007F:0016 00000000:0000 0A 00000015:0000000f 00:00000000 00000000 0\n\
            1: a b 01 1:2\n2: a b zz 1:2\n3: a b 01 12\n4:\n5: a b 01 fffffffff:0\n";
        let (mut faults, mut seen) = (Faults::default(), Vec::new());
        parse("net/tcp", text, &mut faults, |socket| seen.push(socket));
        let expect = [
            Socket { state: 10, sends: 21, received: 15 },
            Socket { state: 1, sends: 1, received: 2 },
        ];
        assert_eq!(seen, expect);
        let said = faults.into_result().unwrap_err().to_string();
        assert!(said.starts_with("net/tcp, line 4, socket: its state or queues"), "{said}");
        assert_eq!(said.matches("socket:").count(), 4, "{said}");
    }
}
