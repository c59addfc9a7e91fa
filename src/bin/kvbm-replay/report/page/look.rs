//! The look of each policy's curve: its colour, its dashes, and its markers, whose shapes
//! distinguish curves without colour.
//!
//! Looks are assigned by a policy's place in the list, so a new policy has one too.

use std::f64::consts::TAU;

use crate::policy::Policy;

const MARKER: f64 = 4.2;

/// What a curve looks like.
#[derive(Clone, Copy)]
pub struct Look {
    /// A variable of the style sheet.
    colour: &'static str,
    /// Lengths of strokes and gaps, if the line is dashed.
    dashes: Option<&'static str>,
    /// The marker's corners, their distance from its centre, and by how many degrees it is
    /// turned.
    corners: u32,
    radius: f64,
    turned: f64,
}

/// The looks of the first policies. The colours and dashes of others are these again, with
/// markers that have more corners.
const LOOKS: [Look; 8] = [
    look_of("blue", None, 16, 1.0, 0.0),
    look_of("sky", Some("7 5"), 4, 1.2, 45.0),
    look_of("purple", None, 4, 1.3, 0.0),
    look_of("green", Some("7 5"), 3, 1.3, 0.0),
    look_of("amber", Some("2 4"), 3, 1.3, 180.0),
    look_of("vermilion", None, 6, 1.2, 0.0),
    look_of("rose", None, 5, 1.2, 0.0),
    look_of("faint", None, 4, 0.9, 0.0),
];

const fn look_of(
    colour: &'static str,
    dashes: Option<&'static str>,
    corners: u32,
    scale: f64,
    turned: f64,
) -> Look {
    Look {
        colour,
        dashes,
        corners,
        radius: MARKER * scale,
        turned,
    }
}

/// The look of a policy's curve.
pub fn look(policy: Policy) -> Look {
    let place = Policy::all().position(|other| other == policy);
    let place = place.unwrap_or_default();
    let look = LOOKS[place % LOOKS.len()];
    let corners = if place < LOOKS.len() {
        look.corners
    } else {
        place as u32
    };
    Look { corners, ..look }
}

/// The style sheet's rules for the curves, by the name of the policy.
pub fn rules() -> String {
    let mut rules = String::new();
    for policy in Policy::all() {
        let Look { colour, dashes, .. } = look(policy);
        rules.push_str(&format!(".{policy} {{ --curve: var(--{colour}); }}\n"));
        if let Some(dashes) = dashes {
            rules.push_str(&format!(
                ".{policy} .line {{ stroke-dasharray: {dashes}; }}\n"
            ));
        }
    }
    rules
}

impl Look {
    /// The outline of a marker.
    pub fn marker(self, (x, y): (f64, f64)) -> String {
        let step = TAU / f64::from(self.corners);
        let corner = |index| {
            let angle = f64::from(index) * step + self.turned.to_radians();
            let (x, y) = (x + self.radius * angle.sin(), y - self.radius * angle.cos());
            format!("{x:.1} {y:.1}")
        };
        let corners: Vec<String> = (0..self.corners).map(corner).collect();
        format!("M{}Z", corners.join("L"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_has_a_marker_of_its_own() {
        let mut markers: Vec<String> = Policy::all()
            .map(|policy| look(policy).marker((0.0, 0.0)))
            .collect();
        markers.sort();
        markers.dedup();
        assert_eq!(markers.len(), Policy::all().count());
    }

    #[test]
    fn every_policy_has_a_colour_of_the_style_sheet() {
        let sheet = include_str!("page.css");
        for policy in Policy::all() {
            assert!(
                sheet.contains(&format!("--{}:", look(policy).colour)),
                "{policy}"
            );
        }
    }
}
