//! Where the cells of one row are put: under their columns, whichever a version has.

use crate::catalogue::Column;
use crate::value::same;
use crate::{Str, Value};

const EMPTY: Value = Value::String(Str::const_new(""));

pub(super) struct Sheet<'a> {
    columns: &'a [Column],
    cells: Vec<Value>,
    /// the column behind the last that was filled
    next: usize,
    /// whether cells come in the order of all columns
    in_order: bool,
    /// where a cell goes that has no column
    nowhere: Value,
}

impl<'a> Sheet<'a> {
    pub(super) fn new(columns: &'a [Column], in_order: bool) -> Self {
        let mut cells = Vec::with_capacity(columns.len());
        if in_order {
            cells.resize_with(columns.len(), || EMPTY);
        } else {
            cells.resize_with(columns.len(), || Value::Null);
        }
        Self {
            columns,
            cells,
            next: 0,
            in_order,
            nowhere: Value::Null,
        }
    }

    /// The place of a cell. Cells are made in the order of the columns, mostly: the next one is
    /// looked at first.
    #[inline(always)]
    pub(super) fn cell(&mut self, name: &str) -> &mut Value {
        let next = self.next;
        let fits = |c: &Column| same(&c.name, name);
        if !self.in_order && !self.columns.get(next).is_some_and(fits) {
            return self.find(name);
        }
        self.next = next + 1;
        self.cells.get_mut(next).unwrap_or(&mut self.nowhere)
    }

    /// The place of a cell that is a text, empty as yet.
    #[inline(always)]
    pub(super) fn text(&mut self, name: &str) -> &mut Str {
        let cell = self.cell(name);
        if !matches!(cell, Value::String(_)) {
            *cell = EMPTY;
        }
        match cell {
            Value::String(text) => text,
            _ => unreachable!("just made one"),
        }
    }

    #[inline(never)]
    fn find(&mut self, name: &str) -> &mut Value {
        match self.columns.iter().position(|c| c.name == name) {
            Some(at) => {
                self.next = at + 1;
                &mut self.cells[at]
            }
            None => &mut self.nowhere,
        }
    }

    /// The cells, one per column; `common` makes those that every kind may have.
    pub(super) fn finish(mut self, common: impl Fn(&str) -> Option<Value>) -> Vec<Value> {
        if self.in_order {
            return self.cells;
        }
        for (cell, column) in self.cells.iter_mut().zip(self.columns) {
            if cell.is_null()
                && let Some(value) = common(&column.name)
            {
                *cell = value;
            }
        }
        self.cells
    }
}
