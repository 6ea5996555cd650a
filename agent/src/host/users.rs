//! The users of a host.

/// Where they are listed, relative to the root.
pub(super) const FILE: &str = "etc/passwd";

/// A user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub id: u32,
    /// The number of the user's own group.
    pub group: u32,
}

/// Finds a user by name. A line is `name:password:user:group:comment:home:shell`.
pub(super) fn find(text: &str, name: &str) -> Option<User> {
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some(User { id: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let text = "root:x:0:0::/root:/bin/sh\nagent2:x:7:7::/:\nagent:x:998:997::/:\nbad:x:no:1\n";
        let check = |name: &str, expect: Option<(u32, u32)>| {
            assert_eq!(find(text, name).map(|user| (user.id, user.group)), expect, "{name}");
        };
        check("agent", Some((998, 997)));
        check("root", Some((0, 0)));
        check("age", None);
        check("bad", None);
        check("", None);
    }
}
