//! Tarjan's strongly connected components. Knows numbered nodes alone.

use std::collections::BTreeSet;

/// The components of the graph in which node `n` leads to `edges[n]`, each as its nodes in order.
pub fn components(edges: &[BTreeSet<usize>]) -> Vec<Vec<usize>> {
    let mut search = Search {
        edges,
        index: vec![None; edges.len()],
        low: vec![0; edges.len()],
        on_stack: vec![false; edges.len()],
        stack: Vec::new(),
        next: 0,
        found: Vec::new(),
    };
    for node in 0..edges.len() {
        if search.index[node].is_none() {
            search.visit(node);
        }
    }
    search.found
}

struct Search<'a> {
    edges: &'a [BTreeSet<usize>],
    /// The order in which nodes were visited.
    index: Vec<Option<usize>>,
    /// The earliest node on the stack that each one reaches.
    low: Vec<usize>,
    on_stack: Vec<bool>,
    stack: Vec<usize>,
    next: usize,
    found: Vec<Vec<usize>>,
}

impl Search<'_> {
    fn visit(&mut self, node: usize) {
        let order = self.next;
        self.next += 1;
        self.index[node] = Some(order);
        self.low[node] = order;
        self.stack.push(node);
        self.on_stack[node] = true;
        let edges = self.edges;
        for &to in &edges[node] {
            match self.index[to] {
                None => {
                    self.visit(to);
                    self.low[node] = self.low[node].min(self.low[to]);
                }
                Some(order) if self.on_stack[to] => {
                    self.low[node] = self.low[node].min(order);
                }
                Some(_) => {}
            }
        }
        if self.low[node] != order {
            return;
        }
        let start = self.stack.iter().rposition(|&each| each == node);
        let start = start.expect("a node stays on the stack until its component is found");
        let mut component = self.stack.split_off(start);
        for &each in &component {
            self.on_stack[each] = false;
        }
        component.sort_unstable();
        self.found.push(component);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found_and_what_only_leads_to_them_is_none_of_them() {
        let edges = [vec![1], vec![2], vec![1, 3], vec![4], vec![], vec![6], vec![5], vec![7]];
        let edges: Vec<BTreeSet<usize>> =
            edges.into_iter().map(|to| to.into_iter().collect()).collect();
        let mut large: Vec<Vec<usize>> =
            components(&edges).into_iter().filter(|component| component.len() > 1).collect();
        large.sort();
        assert_eq!(large, [vec![1, 2], vec![5, 6]]);
    }
}
