//! A classic BPF program for a socket: what nobody wants to hear never wakes the thread.

const LD_W_ABS: u16 = 0x20;
const LD_H_ABS: u16 = 0x28;
const LD_B_ABS: u16 = 0x30;
const LD_W_IND: u16 = 0x40;
const LD_B_IND: u16 = 0x50;
const LD_IMM: u16 = 0x00;
const LDX_IMM: u16 = 0x01;
const TAX: u16 = 0x07;
const JEQ: u16 = 0x15;
const JSET: u16 = 0x45;
const RET: u16 = 0x06;
/// `SKF_AD_OFF + SKF_AD_NLATTR`: A becomes the offset of attribute X, searched from offset A; 0 if there is none.
const NLATTR: u32 = (-0x1000i32 + 12).cast_unsigned();

/// A place in the program to jump to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// A program under construction. Offsets count from the netlink header; loads give numbers in network order.
#[derive(Debug, Default)]
pub struct Filter {
    code: Vec<(u16, u32, Option<Label>)>,
    labels: Vec<usize>,
}

impl Filter {
    /// Empty.
    pub fn new() -> Filter {
        Filter::default()
    }

    /// A label to be placed later: jumps only go forward.
    pub fn label(&mut self) -> Label {
        self.labels.push(usize::MAX);
        Label(self.labels.len() - 1)
    }

    /// The label stands here.
    pub fn place(&mut self, label: Label) {
        if let Some(place) = self.labels.get_mut(label.0) {
            *place = self.code.len();
        }
    }

    /// A = the octet at `offset`.
    pub fn load8(&mut self, offset: u32) {
        self.push(LD_B_ABS, offset);
    }

    /// A = the two octets at `offset`.
    pub fn load16(&mut self, offset: u32) {
        self.push(LD_H_ABS, offset);
    }

    /// A = the four octets at `offset`.
    pub fn load32(&mut self, offset: u32) {
        self.push(LD_W_ABS, offset);
    }

    /// A = X = the offset of the attribute `kind`, searched from `offset`; 0 if there is none.
    pub fn find_attr(&mut self, offset: u32, kind: u16) {
        self.push(LDX_IMM, u32::from(kind));
        self.push(LD_IMM, offset);
        self.push(LD_W_ABS, NLATTR);
        self.push(TAX, 0);
    }

    /// A = the octet at X + `offset`.
    pub fn load8_at_attr(&mut self, offset: u32) {
        self.push(LD_B_IND, offset);
    }

    /// A = the four octets at X + `offset`.
    pub fn load32_at_attr(&mut self, offset: u32) {
        self.push(LD_W_IND, offset);
    }

    /// To `label` if A is `value`.
    pub fn jump_if(&mut self, value: u32, label: Label) {
        self.code.push((JEQ, value, Some(label)));
    }

    /// To `label` if A and `bits` have a bit in common.
    pub fn jump_if_any(&mut self, bits: u32, label: Label) {
        self.code.push((JSET, bits, Some(label)));
    }

    /// Ends: the message is delivered, or not.
    pub fn end(&mut self, deliver: bool) {
        self.push(RET, if deliver { u32::MAX } else { 0 });
    }

    /// The program; `None` if a jump is too far, goes back or nowhere.
    pub fn assemble(&self) -> Option<Vec<libc::sock_filter>> {
        let assemble = |(at, (code, k, label)): (usize, &(u16, u32, Option<Label>))| {
            let jump = match label {
                None => 0,
                Some(label) => {
                    let place = self
                        .labels
                        .get(label.0)
                        .filter(|place| **place < self.code.len())?;
                    u8::try_from(place.checked_sub(at + 1)?).ok()?
                }
            };
            Some(libc::sock_filter {
                code: *code,
                jt: jump,
                jf: 0,
                k: *k,
            })
        };
        self.code.iter().enumerate().map(assemble).collect()
    }

    fn push(&mut self, code: u16, k: u32) {
        self.code.push((code, k, None));
    }
}
