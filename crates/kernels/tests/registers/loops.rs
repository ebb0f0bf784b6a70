//! Loops of machine code that sum up products, as a disassembler sees them. Not here: which loops there should be.

use std::collections::BTreeSet;
use std::fmt;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind};
use iced_x86::{Register, UsedRegister};

/// An innermost loop whose multiply-adds, most of them at least, add to what the round before has left in a register. A loop
/// inside it counts as a part of it if nothing is multiplied there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loop {
    /// Of its first instruction.
    pub address: u64,
    /// Floats of a register of sums.
    pub lanes: usize,
    /// Registers of sums.
    pub sums: usize,
    /// All of its instructions.
    pub instructions: usize,
    /// Those of them that multiply and add.
    pub multiply_adds: usize,
    /// Floats from memory that go to all lanes.
    pub broadcasts: usize,
    /// Vectors that go to the stack or come from there.
    pub spills: usize,
}

impl fmt::Display for Loop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, lanes, sums, instructions, multiply_adds, broadcasts, spills } = self;
        write!(
            f,
            "{address:#x}: {sums} sums of {lanes} lanes, {multiply_adds} multiply-adds, {broadcasts} broadcasts"
        )?;
        write!(f, ", {instructions} instructions, {spills} spills")
    }
}

/// The loops of a function with these bytes at this address.
pub fn of_function(code: &[u8], address: u64) -> Vec<Loop> {
    let function = Function::new(code, address);
    let loops = function.innermost(&vec![true; function.code.len()]);
    loops.iter().filter_map(|l| function.look(l)).collect()
}

/// Some of a function's instructions.
type Set = Vec<bool>;

/// Instructions and their neighbours.
struct Function {
    code: Vec<Instruction>,
    /// From which others each is reached. Where a computed jump goes is not known.
    before: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
    /// Whether `rbp` is where locals are counted from; else it is a register like any other.
    framed: bool,
}

impl Function {
    fn new(code: &[u8], address: u64) -> Self {
        let code: Vec<Instruction> = Decoder::with_ip(64, code, address, DecoderOptions::NONE).into_iter().collect();
        let (mut before, mut after) = (vec![Vec::new(); code.len()], vec![Vec::new(); code.len()]);
        for (i, instruction) in code.iter().enumerate() {
            use FlowControl::{Call, ConditionalBranch, IndirectCall, Next};
            let goes_on = matches!(instruction.flow_control(), Next | Call | IndirectCall | ConditionalBranch);
            // What pads a loop to a line of code lies behind a jump, and nobody comes along.
            let is_padding = instruction.mnemonic() == Mnemonic::Nop && i > 0 && before[i].is_empty();
            let next = Some(i + 1).filter(|&n| goes_on && !is_padding && n < code.len());
            for to in [next, target(&code, i)].into_iter().flatten() {
                before[to].push(i);
                after[i].push(to);
            }
        }
        let sets_frame = |i: &Instruction| {
            i.mnemonic() == Mnemonic::Mov && i.op0_register() == Register::RBP && i.op1_register() == Register::RSP
        };
        Self { framed: code.iter().any(sets_frame), code, before, after }
    }

    /// The loops inside of a set that multiply and hold no other loop that does. A loop is what can be reached from a
    /// multiply-add and leads back to it; without the instructions where it is entered, only the loops inside it are left.
    fn innermost(&self, inside: &Set) -> Vec<Set> {
        let (mut found, mut done) = (Vec::new(), vec![false; self.code.len()]);
        for i in (0..self.code.len()).filter(|&i| inside[i] && is_multiply_add(&self.code[i])) {
            if done[i] {
                continue;
            }
            let (to, from) = (reach(i, &self.after, inside), reach(i, &self.before, inside));
            let whole: Set = to.iter().zip(from).map(|(to, from)| *to && from).collect();
            if !whole[i] {
                continue;
            }
            members(&whole).for_each(|i| done[i] = true);
            let inner = self.innermost(&self.without_entries(&whole));
            found.extend(if inner.is_empty() { vec![whole] } else { inner });
        }
        found
    }

    fn without_entries(&self, whole: &Set) -> Set {
        let mut entries: Vec<usize> =
            members(whole).filter(|&i| self.before[i].iter().any(|&from| !whole[from])).collect();
        if entries.is_empty() {
            // Only a computed jump leads there.
            entries.extend(members(whole).next());
        }
        let mut rest = whole.clone();
        entries.into_iter().for_each(|i| rest[i] = false);
        rest
    }

    /// What there is to say about a loop if it sums up.
    fn look(&self, whole: &Set) -> Option<Loop> {
        let code: Vec<&Instruction> = members(whole).map(|i| &self.code[i]).collect();
        let products: Vec<_> = code.iter().filter(|i| is_multiply_add(i)).collect();
        let (sums, added) = carried(&code);
        let count = |of: &dyn Fn(&Instruction) -> bool| code.iter().filter(|i| of(i)).count();
        (sums > 0 && 2 * added >= products.len()).then(|| Loop {
            address: code[0].ip(),
            lanes: products.iter().map(|i| i.op0_register().size() / 4).max().unwrap_or(0),
            sums,
            instructions: code.len(),
            multiply_adds: products.len(),
            broadcasts: count(&is_broadcast),
            spills: count(&|i| has_vector(i) && self.is_on_stack(i)),
        })
    }

    fn is_on_stack(&self, i: &Instruction) -> bool {
        let base = i.memory_base();
        base == Register::RSP || self.framed && base == Register::RBP
    }
}

fn members(set: &Set) -> impl Iterator<Item = usize> {
    (0..set.len()).filter(|&i| set[i])
}

/// What can be reached within a set in one step or more.
fn reach(start: usize, edges: &[Vec<usize>], inside: &Set) -> Set {
    let (mut seen, mut open) = (vec![false; inside.len()], vec![start]);
    while let Some(i) = open.pop() {
        for &next in edges[i].iter().filter(|&&next| inside[next]) {
            if !std::mem::replace(&mut seen[next], true) {
                open.push(next);
            }
        }
    }
    seen
}

/// Where a jump goes, if that is in the function.
fn target(code: &[Instruction], i: usize) -> Option<usize> {
    let jumps = matches!(code[i].flow_control(), FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch);
    let find = || code.binary_search_by_key(&code[i].near_branch_target(), Instruction::ip).ok();
    jumps.then(find).flatten()
}

fn is_multiply_add(i: &Instruction) -> bool {
    addend(i).is_some()
}

/// Of a multiply-add the register that is added to the product.
fn addend(i: &Instruction) -> Option<Register> {
    match i.mnemonic() {
        Mnemonic::Vfmadd231ps => Some(i.op0_register()),
        Mnemonic::Vfmadd213ps => Some(i.op2_register()),
        Mnemonic::Vfmadd132ps => Some(i.op1_register()),
        _ => None,
    }
}

/// Constants are no numbers of the network's.
fn is_broadcast(i: &Instruction) -> bool {
    let loads = i.mnemonic() == Mnemonic::Vbroadcastss && i.op1_kind() == OpKind::Memory;
    (loads || i.is_broadcast()) && !i.is_ip_rel_memory_operand()
}

fn is_vector(r: Register) -> bool {
    r.is_xmm() || r.is_ymm() || r.is_zmm()
}

fn has_vector(i: &Instruction) -> bool {
    (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Register && is_vector(i.op_register(n)))
}

/// The vectors to which something is added between one round of a loop and the next, and how many multiply-adds do so. Constants that
/// change their registers on the way are no sums.
fn carried(code: &[&Instruction]) -> (usize, usize) {
    let mut factory = InstructionInfoFactory::new();
    let used: Vec<Vec<UsedRegister>> = code.iter().map(|i| vectors(&mut factory, i)).collect();
    let (mut read_first, mut written) = (BTreeSet::new(), BTreeSet::new());
    for used in &used {
        read_first.extend(used.iter().filter(|u| reads(u)).map(number).filter(|r| !written.contains(r)));
        written.extend(used.iter().filter(|u| writes(u)).map(number));
    }
    let sums: BTreeSet<usize> = read_first.intersection(&written).copied().collect();
    let (mut now, mut added) = (sums.clone(), 0);
    for (i, used) in code.iter().zip(&used) {
        let adds = addend(i).is_some_and(|r| now.contains(&r.full_register().number()));
        used.iter().filter(|u| writes(u)).for_each(|u| {
            now.remove(&number(u));
        });
        if adds {
            added += 1;
            now.insert(i.op0_register().full_register().number());
        }
    }
    (now.intersection(&sums).count(), added)
}

fn vectors(factory: &mut InstructionInfoFactory, i: &Instruction) -> Vec<UsedRegister> {
    let used = factory.info(i).used_registers();
    used.iter().filter(|u| is_vector(u.register())).copied().collect()
}

fn number(u: &UsedRegister) -> usize {
    u.register().full_register().number()
}

fn reads(u: &UsedRegister) -> bool {
    matches!(u.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
}

fn writes(u: &UsedRegister) -> bool {
    matches!(u.access(), OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
}

/// Loops that are put together by hand.
#[cfg(test)]
mod tests {
    use iced_x86::code_asm::*;

    use super::*;

    const ADDRESS: u64 = 0x1000;

    /// The loops of a function that jumps back to where it was after `begin`.
    fn seen(begin: impl Fn(&mut CodeAssembler), round: impl Fn(&mut CodeAssembler)) -> Vec<Loop> {
        let mut a = CodeAssembler::new(64).unwrap();
        begin(&mut a);
        let mut top = a.create_label();
        a.set_label(&mut top).unwrap();
        round(&mut a);
        a.dec(rcx).unwrap();
        a.jne(top).unwrap();
        a.ret().unwrap();
        of_function(&a.assemble(ADDRESS).unwrap(), ADDRESS)
    }

    fn nothing(_: &mut CodeAssembler) {}

    /// Two vectors of weights times two pixels.
    fn two_by_two(a: &mut CodeAssembler) {
        a.vmovups(ymm14, ymmword_ptr(rsi)).unwrap();
        a.vmovups(ymm15, ymmword_ptr(rsi + 32)).unwrap();
        a.vbroadcastss(ymm12, dword_ptr(rax)).unwrap();
        a.vfmadd231ps(ymm0, ymm14, ymm12).unwrap();
        a.vfmadd231ps(ymm1, ymm15, ymm12).unwrap();
        a.vbroadcastss(ymm12, dword_ptr(rbx)).unwrap();
        a.vfmadd231ps(ymm2, ymm14, ymm12).unwrap();
        a.vfmadd231ps(ymm3, ymm15, ymm12).unwrap();
    }

    const TWO_BY_TWO: Loop =
        Loop { address: ADDRESS, lanes: 8, sums: 4, instructions: 10, multiply_adds: 4, broadcasts: 2, spills: 0 };

    #[test]
    fn a_tile_in_registers_is_seen() {
        assert_eq!(seen(nothing, two_by_two), [TWO_BY_TWO]);
    }

    #[test]
    fn a_sum_that_moves_is_one_sum() {
        let moves = |a: &mut CodeAssembler| {
            a.vmovups(zmm1, zmmword_ptr(rsi)).unwrap();
            a.vfmadd132ps(zmm1, zmm0, dword_bcst(rax)).unwrap();
            a.vmovups(zmm0, zmmword_ptr(rsi + 64)).unwrap();
            a.vfmadd132ps(zmm0, zmm1, dword_bcst(rax + 4)).unwrap();
        };
        let one =
            Loop { address: ADDRESS, lanes: 16, sums: 1, instructions: 6, multiply_adds: 2, broadcasts: 2, spills: 0 };
        assert_eq!(seen(nothing, moves), [one]);
    }

    #[test]
    fn a_spilled_factor_is_seen() {
        let spilled = |a: &mut CodeAssembler| {
            two_by_two(a);
            a.vfmadd231ps(ymm4, ymm12, ymmword_ptr(rsp + 64)).unwrap();
        };
        let expected = Loop { sums: 5, instructions: 11, multiply_adds: 5, spills: 1, ..TWO_BY_TWO };
        assert_eq!(seen(nothing, spilled), [expected]);
    }

    #[test]
    fn a_spilled_sum_is_seen_and_is_no_sum() {
        let spilled = |a: &mut CodeAssembler| {
            two_by_two(a);
            a.vmovaps(ymm13, ymmword_ptr(rsp + 32)).unwrap();
            a.vfmadd231ps(ymm13, ymm14, ymm12).unwrap();
            a.vmovaps(ymmword_ptr(rsp + 32), ymm13).unwrap();
        };
        let expected = Loop { instructions: 13, multiply_adds: 5, spills: 2, ..TWO_BY_TWO };
        assert_eq!(seen(nothing, spilled), [expected]);
    }

    #[test]
    fn the_frame_is_the_stack_and_another_use_of_its_register_is_not() {
        let load = |a: &mut CodeAssembler| {
            two_by_two(a);
            a.vmovaps(ymm11, ymmword_ptr(rbp - 32)).unwrap();
        };
        assert_eq!(seen(nothing, load)[0].spills, 0);
        assert_eq!(seen(|a| a.mov(rbp, rsp).unwrap(), load)[0].spills, 1);
    }

    #[test]
    fn numbers_and_addresses_on_the_stack_are_no_spills() {
        let loads = |a: &mut CodeAssembler| {
            a.mov(rax, qword_ptr(rsp + 8)).unwrap();
            two_by_two(a);
        };
        assert_eq!(seen(nothing, loads), [Loop { instructions: 11, ..TWO_BY_TWO }]);
    }

    #[test]
    fn products_that_are_not_summed_are_no_tile() {
        let apply = |a: &mut CodeAssembler| {
            a.vmovups(ymm0, ymmword_ptr(rsi)).unwrap();
            a.vfmadd213ps(ymm0, ymm14, ymm15).unwrap();
            a.vmovups(ymmword_ptr(rsi), ymm0).unwrap();
        };
        assert!(seen(nothing, apply).is_empty());
    }

    #[test]
    fn constants_that_change_their_registers_are_no_sums() {
        let apply = |a: &mut CodeAssembler| {
            a.vmovups(ymm0, ymmword_ptr(rsi)).unwrap();
            a.vfmadd213ps(ymm0, ymm14, ymm5).unwrap();
            a.vmovaps(ymm6, ymm5).unwrap();
            a.vmovaps(ymm5, ymmword_ptr(rsp + 32)).unwrap();
            a.vfmadd213ps(ymm0, ymm5, ymm6).unwrap();
            a.vmovaps(ymm5, ymm6).unwrap();
            a.vmovups(ymmword_ptr(rsi), ymm0).unwrap();
        };
        assert!(seen(nothing, apply).is_empty());
    }

    /// The loop inside only asks for lines, and the loop outside repeats the sum.
    #[test]
    fn a_loop_without_products_is_a_part_of_the_one_around_it() {
        let nested = |a: &mut CodeAssembler| {
            let [mut sum, mut ask] = [a.create_label(), a.create_label()];
            a.mov(rax, rdi).unwrap();
            a.set_label(&mut sum).unwrap();
            two_by_two(a);
            a.set_label(&mut ask).unwrap();
            a.prefetcht1(byte_ptr(rdi)).unwrap();
            a.dec(rdx).unwrap();
            a.jne(ask).unwrap();
            a.dec(r8).unwrap();
            a.jne(sum).unwrap();
            a.vmovups(ymmword_ptr(rsp), ymm0).unwrap();
        };
        assert_eq!(seen(nothing, nested), [Loop { address: ADDRESS + 3, instructions: 13, ..TWO_BY_TWO }]);
    }
}
