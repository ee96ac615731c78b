//! Tables of what BuildKit was seen to do.

use super::*;

/// What of `paths` is excluded; parents are judged first, as in a walk.
fn excluded<'a>(text: &str, paths: &[&'a str]) -> Vec<&'a str> {
    let ignore = Ignore::parse(text.as_bytes()).unwrap();
    let excluded = |path: &&str| {
        let mut verdict = IgnoreVerdict::default();
        for parent in parents(path.as_bytes()).chain([path.as_bytes()]) {
            verdict = ignore.judge(parent, &verdict).unwrap();
        }
        verdict.excluded
    };
    paths.iter().copied().filter(excluded).collect()
}

/// One pattern that excludes some paths and not others.
fn check(text: &str, out: &[&str], kept: &[&str]) {
    let all = [out, kept].concat();
    assert_eq!(excluded(text, &all), out, "{text:?}");
}

fn refused(text: &[u8]) -> Vec<String> {
    let problems = Ignore::parse(text).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn names() {
    for text in ["foo", "foo/", "/foo", "/foo/", "./foo", "//foo", "x/../foo"] {
        check(
            text,
            &["foo", "foo/bar", "foo/a/b"],
            &["bar/foo", "foobar", "Foo"],
        );
    }
    check("foo/*", &["foo/bar", "foo/a/b"], &["foo"]);
    check("foo/**", &["foo/bar", "foo/a/b"], &["foo"]);
    check("foo**", &["foo", "foo/a", "foo.txt"], &["a/foo", "fo"]);
    check("**/foo", &["foo", "a/foo", "a/b/foo/c"], &["xfoo", "foo.txt"]);
    check("**foo", &["foo", "a/foo", "xfoo"], &["foox"]);
    check(
        "foo/**/m.js",
        &["foo/m.js", "foo/a/m.js", "foo/a/b/m.js"],
        &["m.js", "foo/xm.js"],
    );
    check("sp ace", &["sp ace"], &["sp", "space"]);
    check("\"sp ace\"", &["\"sp ace\""], &["sp ace"]);
    check("é", &["é"], &["e\u{301}"]);
}

#[test]
fn everything() {
    for text in ["*", "**", "***", "**/", "**/**", "/*", "/**"] {
        check(text, &["a", "a/b", ".a"], &[]);
    }
    check("*.txt", &["a.txt", ".txt"], &["a/b.txt"]);
    check("**/*.txt", &["a.txt", "a/b.txt", "a/b/c.txt"], &["a.txt.x"]);
    check("*/*.txt", &["a/b.txt"], &["a.txt", "a/b/c.txt"]);
    check(".*", &[".git", ".env", ".dockerignore"], &["a.b"]);
}

#[test]
fn nothing() {
    for text in [
        "",
        "\n\n",
        ".",
        "./",
        "/",
        "..",
        "../x",
        "# foo",
        "foo # bar",
        "\u{feff}",
    ] {
        check(text, &[], &["foo", "x", "a/x"]);
    }
}

#[test]
fn exceptions() {
    let paths = ["foo", "foo/bar.txt", "foo/other", "a.txt"];
    for text in ["foo\n!foo/bar.txt", "foo/**\n!foo/bar.txt\nfoo/other"] {
        assert!(!excluded(text, &paths).contains(&"foo/bar.txt"), "{text}");
    }
    check("*\n!foo", &["a", "foobar"], &["foo", "foo/a"]);
    check("*\n!foo/", &["a"], &["foo", "foo/a"]);
    check("*\n! a.txt", &["b"], &["a.txt"]);
    check("*\n!**/*.txt", &["a", "a/b"], &["a/b.txt", "c.txt"]);
    check("!a\na", &["a"], &[]);
    check("a\n!a\na", &["a"], &[]);
    check("a\n!a", &[], &["a"]);
    check("!!bang", &[], &["!bang"]);
    check("*\n!!bang", &["bang"], &["!bang"]);
}

#[test]
fn reading_of_lines() {
    check("\u{feff}foo\r\n bar \t\r\n", &["foo", "bar"], &["foo ", " bar"]);
    check(" # c", &["# c"], &["c"]);
    check("#hash", &[], &["#hash"]);
    check("\\#hash", &["#hash"], &["hash"]);
    check("\\!bang", &["!bang"], &["bang"]);
    check("\u{3000}foo\u{a0}", &["foo"], &[]);
    check("foo /", &["foo"], &["foo "]);
}

#[test]
fn escapes_and_classes() {
    check("x[1].txt", &["x1.txt"], &["x[1].txt"]);
    check("x\\[1\\].txt", &["x[1].txt"], &["x1.txt"]);
    check("[^a].txt", &["b.txt"], &["a.txt", "ab.txt"]);
    check("?.txt", &["a.txt", "é.txt"], &[".txt", "ab.txt"]);
    check("[ab].*", &["a.x", "b."], &["c.x", "a"]);
    check("{a,b}", &["{a,b}"], &["a", "b"]);
    check("back\\\\slash", &["back\\slash"], &["backslash"]);
    check("a\\*b", &["a*b"], &["axb"]);
    check("a+b", &["a+b"], &["aab"]);
    check("a+b*", &["a+b"], &["aab"]);
    check("[a-c]x", &["ax", "cx"], &["dx", "-x"]);
    check("[\\-a]x", &["-x", "ax"], &["\\x"]);
}

/// What BuildKit does not escape is an expression: odd, but so it is.
#[test]
fn leaks_of_regular_expressions() {
    check("a{2}*", &["aa", "aab"], &["a{2}", "a"]);
    check("a{2}", &["a{2}"], &["aa"]);
    check("a|b*", &["a", "axx", "b", "cb", "x/b"], &["c"]);
    check("\\d*", &["1", "2a"], &["d", "d1"]);
    check("[*]", &["[]", "]", "/^]"], &["*"]);
    check("[a?b]", &["ab]", "[b]"], &["a", "b", "?"]);
    check("x^y*", &[], &["x^y", "xy"]);
    check("[[:alpha:]]", &["a"], &["1", ":]"]);
    check("[^[:alpha:]]x", &["1x"], &["ax"]);
    check("\\x41*", &["A", "Ab"], &["x41"]);
    check("\\Qa.b\\Ec*", &["a\\.bc"], &["a.bc"]);
    check("[\\w]*", &["a", "_"], &["-"]);
    check("a\\b*", &["a", "a b"], &["ab"]);
    check("a{2,}?", &["aax", "aaa"], &["a", "ax"]);
    check("\\Qx", &["x$"], &["x", "Qx"]);
}

#[test]
fn refusals() {
    assert_eq!(refused(b"!"), ["line 1: illegal exclusion pattern: \"!\""]);
    assert_eq!(
        refused(b"a\n! \n!/"),
        [
            "line 2: illegal exclusion pattern: \"!\"",
            "line 3: illegal exclusion pattern: \"!/\"",
        ]
    );
    for text in [
        "[", "[a", "a[", "[]a]", "[-]", "[x-]", "[-x]", "[^]", "a\\", "[a-b-c]",
    ] {
        let expected = format!("line 1: syntax error in pattern: {text:?}");
        assert_eq!(refused(text.as_bytes()), [expected]);
    }
    assert_eq!(
        refused(b"a\rb"),
        ["line 1: control character in pattern: \"a\\rb\""]
    );
    assert_eq!(refused(&[b'a'; 65536]), ["line 1: line longer than 64 KiB"]);
    assert!(Ignore::parse(&[b'a'; 65535]).is_ok());
    // Beyond ASCII the patterns are encoded, and anything passes.
    assert!(Ignore::parse("a\rb\né".as_bytes()).is_ok());
}

/// BuildKit's check ends at a star that cannot match a dot.
#[test]
fn what_the_check_does_not_see() {
    check("bar/*\\", &["bar/x$", "bar/$y"], &["bar/x", "bar/\\"]);
    check("a*[]b]", &["ab", "a]", "axb"], &["a", "b"]);
    check("a*[-b]", &["a-", "axb"], &["a"]);
    for text in [".*[", "?*[", "[.]*[", "*[", "*.*["] {
        assert_eq!(refused(text.as_bytes()).len(), 1, "{text}");
    }
    for text in ["x*[", "a/*[", "..*["] {
        let ignore = Ignore::parse(text.as_bytes()).unwrap();
        assert!(ignore.judge(b"x", &IgnoreVerdict::default()).is_err(), "{text}");
    }
}

#[test]
fn broken_only_in_use() {
    for text in [
        "[z-a]",
        "\\é*",
        "\\8*",
        "a{2}{3}*",
        "a{1001}*",
        "\\pL*",
        "[[:nope:]]",
    ] {
        let ignore = Ignore::parse(text.as_bytes()).unwrap();
        let problem = ignore.judge(b"x", &IgnoreVerdict::default()).unwrap_err();
        assert_eq!(problem.pattern, text);
        // Not asked, since everything is excluded before.
        let ignore = Ignore::parse(format!("*\n{text}").as_bytes()).unwrap();
        assert!(ignore.judge(b"x", &IgnoreVerdict::default()).unwrap().excluded);
    }
}

#[test]
fn bytes_that_are_not_text() {
    let ignore = Ignore::parse(b"a*\nb\xff").unwrap();
    let judge = |path: &[u8]| ignore.judge(path, &IgnoreVerdict::default()).unwrap().excluded;
    assert!(judge(b"a\xff"));
    assert!(!judge(b"b\xff"));
    assert!(judge("b\u{fffd}".as_bytes()));
}

#[test]
fn where_exceptions_may_lie() {
    let below = |text: &str, directory: &str| {
        let ignore = Ignore::parse(text.as_bytes()).unwrap();
        ignore.may_keep_below(directory.as_bytes())
    };
    assert!(!below("*", "a"));
    assert!(below("*\n!a/b", "a"));
    assert!(below("*\n!a", "a"));
    assert!(!below("*\n!a", "a/b"));
    assert!(!below("*\n!ab", "a"));
    assert!(below("*\n!a/**", "a"));
    assert!(!below("*\n!a/**", "b"));
    assert!(below("*\n!**/x", "b"));
    assert!(below("*\n!a*", "b"), "a wild stem may match anywhere");
}

#[test]
fn files_that_would_be_sent_empty() {
    let emptied = |text: &str, path: &str| {
        let ignore = Ignore::parse(text.as_bytes()).unwrap();
        let problem = ignore.emptied(path.as_bytes()).unwrap();
        problem.map(|problem| problem.pattern)
    };
    let bug = "foo\n!foo/sub/deep.txt\nfoo/sub";
    check(bug, &["foo", "foo/sub"], &["foo/sub/deep.txt"]);
    assert_eq!(emptied(bug, "foo/sub/deep.txt").as_deref(), Some("foo/sub"));
    assert_eq!(emptied("foo\n!foo/bar", "foo/bar"), None);
    assert_eq!(emptied("*\n!foo", "foo/bar"), None);
}

#[test]
fn which_file_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (context, dockerfile) = (folder.path().join("app"), folder.path().join("x.Dockerfile"));
    std::fs::create_dir(&context).unwrap();
    assert_eq!(file_for(&context, Some(&dockerfile)), None);
    let own = context.join(".dockerignore");
    std::fs::write(&own, "").unwrap();
    assert_eq!(file_for(&context, Some(&dockerfile)).as_ref(), Some(&own));
    let beside = folder.path().join("x.Dockerfile.dockerignore");
    std::fs::write(&beside, "").unwrap();
    assert_eq!(file_for(&context, Some(&dockerfile)), Some(beside));
    assert_eq!(file_for(&context, None), Some(own));
}
