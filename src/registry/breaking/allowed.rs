//! Lets single findings through that somebody has taken upon himself.

use std::collections::HashSet;
use std::fmt;

use crate::registry::breaking::Finding;
use crate::registry::breaking::report::quoted;
use crate::registry::breaking::rules;

/// A rule that may be broken at one element: `FIELD_NO_DELETE@pets.v1.Pet`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Allowed {
    /// The rule's id.
    pub rule: &'static str,
    /// The element as findings name it.
    pub element: String,
}

/// What comes of findings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Those that nobody allowed.
    pub refused: Vec<Finding>,
    /// Those that were allowed.
    pub allowed: Vec<Finding>,
    /// What was allowed and didn't happen.
    pub unused: Vec<Allowed>,
}

impl Allowed {
    /// Reads `RULE@element`.
    ///
    /// # Errors
    /// What is wrong with the text, and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((rule, element)) = text.split_once('@') else {
            return Err(format!(
                "{} has no @; write RULE@element, such as FIELD_NO_DELETE@pets.v1.Pet.name",
                quoted(text)
            ));
        };
        let Some(rule) = rules::named(rule) else {
            return Err(format!(
                "{} is no rule; write the rule as the finding names it, such as FIELD_NO_DELETE",
                quoted(rule)
            ));
        };
        if element.is_empty() {
            return Err(format!(
                "there is no element behind the @; write {}@ and the element as the finding names it",
                rule.id
            ));
        }
        if ELEMENT_BYTES_MAX < element.len() || element.chars().any(char::is_control) {
            return Err(format!(
                "{} is no element; write the full name or the file as the finding names it",
                quoted(element)
            ));
        }
        Ok(Self { rule: rule.id, element: element.to_owned() })
    }

    fn key(&self) -> (&str, &str) {
        (self.rule, &self.element)
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.rule, self.element)
    }
}

impl Finding {
    fn key(&self) -> (&str, &str) {
        (self.rule, &self.element)
    }
}

/// Parts findings into those that are allowed and those that aren't, each in their order.
pub fn split(findings: Vec<Finding>, allowed: &[Allowed]) -> Verdict {
    let wanted: HashSet<(&str, &str)> = allowed.iter().map(Allowed::key).collect();
    let (allowed_findings, refused) =
        findings.into_iter().partition::<Vec<_>, _>(|finding| wanted.contains(&finding.key()));
    let used: HashSet<(&str, &str)> = allowed_findings.iter().map(Finding::key).collect();
    let unused = allowed.iter().filter(|allowed| !used.contains(&allowed.key())).cloned().collect();
    Verdict { refused, allowed: allowed_findings, unused }
}

/// Full names and import names are shorter.
const ELEMENT_BYTES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(rule: &'static str, element: &str) -> Finding {
        Finding {
            rule,
            file: "a.proto".to_owned(),
            line: Some(7),
            element: element.to_owned(),
            problem: "it changed".to_owned(),
            breaks: "clients".to_owned(),
        }
    }

    #[test]
    fn a_rule_and_an_element_are_read_and_written() {
        for text in [
            "FIELD_SAME_NAME@pets.v1.Pet.name",
            "FILE_NO_DELETE@pets/v1/a b.proto",
            "FILE_NO_DELETE@a@b.proto",
        ] {
            assert_eq!(Allowed::parse(text).unwrap().to_string(), text);
        }
        let allowed = Allowed::parse("TRANSOM_SERVICE_NO_DELETE@pets.v1.PetStore").unwrap();
        assert_eq!((allowed.rule, &*allowed.element), ("TRANSOM_SERVICE_NO_DELETE", "pets.v1.PetStore"));
    }

    #[test]
    fn what_is_no_rule_and_element_is_refused_with_a_way_out() {
        for (text, problem) in [
            ("", "\"\" has no @; write RULE@element, such as FIELD_NO_DELETE@pets.v1.Pet.name"),
            ("FIELD_SAME_NAME", "\"FIELD_SAME_NAME\" has no @; write RULE@element, such as"),
            ("FIELD_SAME_NAM@a.B", "\"FIELD_SAME_NAM\" is no rule; write the rule as the finding names it"),
            ("@a.B", "\"\" is no rule"),
            ("*@a.B", "\"*\" is no rule"),
            ("field_same_name@a.B", "\"field_same_name\" is no rule"),
            ("FIELD_SAME_NAME@", "there is no element behind the @; write FIELD_SAME_NAME@ and the element"),
            ("FIELD_SAME_NAME@a.B\n", "\"a.B\\n\" is no element"),
        ] {
            let found = Allowed::parse(text).unwrap_err();
            assert!(found.starts_with(problem), "{found}");
        }
        let long = Allowed::parse(&format!("FIELD_SAME_NAME@{}", "a".repeat(1 << 20))).unwrap_err();
        assert!(long.len() < 300, "{long}");
    }

    #[test]
    fn findings_are_allowed_by_rule_and_element_both() {
        let findings = vec![
            finding("FIELD_SAME_NAME", "a.B.c"),
            finding("FIELD_SAME_JSON_NAME", "a.B.c"),
            finding("FIELD_SAME_NAME", "a.B.d"),
            finding("FIELD_SAME_NAME", "a.B.c"),
        ];
        let parse = |text| Allowed::parse(text).unwrap();
        let allowed =
            [parse("FIELD_SAME_NAME@a.B.c"), parse("FIELD_SAME_TYPE@a.B.c"), parse("FIELD_SAME_NAME@a.B")];
        let verdict = split(findings.clone(), &allowed);
        assert_eq!(verdict.refused, [findings[1].clone(), findings[2].clone()]);
        assert_eq!(verdict.allowed, [findings[0].clone(), findings[3].clone()]);
        assert_eq!(verdict.unused, allowed[1..]);
        assert_eq!(split(findings.clone(), &[]).refused, findings);
        assert_eq!(split(Vec::new(), &allowed).unused, allowed);
    }
}
