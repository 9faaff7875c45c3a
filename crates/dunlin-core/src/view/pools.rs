use dunlin_api::{Pool, PoolCounts};
use dunlin_intent::{ObjectKind, PoolStanding};
use dunlin_net::Afi;

use super::status::object_problem;
use crate::core::Core;

impl Core {
    /// Who gives the addresses out is known outside.
    pub(super) fn pools(&self) -> Vec<Pool> {
        let mut pools: Vec<Pool> = self.cluster.pools().map(|pool| shown(&pool)).collect();
        let problems = self.cluster.problems().into_iter();
        let of_pools = problems.filter(|p| p.object.kind == ObjectKind::LoadBalancerPool);
        for problem in of_pools {
            // By name, as the pools are.
            let at = pools.binary_search_by(|pool| (*pool.name).cmp(&*problem.object.name));
            if let Some(pool) = at.ok().and_then(|at| pools.get_mut(at)) {
                pool.problems.push(object_problem(problem).message);
            }
        }
        pools
    }
}

fn shown(pool: &PoolStanding<'_>) -> Pool {
    let counts = |family: Afi| {
        let total = u64::try_from(*pool.total.get(family)).unwrap_or(u64::MAX);
        let used = *pool.used.get(family);
        let free = u64::try_from(*pool.free.get(family)).unwrap_or(u64::MAX);
        (total > 0).then_some(PoolCounts {
            family,
            total,
            used,
            free,
        })
    };
    let addresses = pool.fact.addresses.iter();
    Pool {
        name: pool.fact.name.clone(),
        addresses: addresses.map(ToString::to_string).collect(),
        auto_assign: pool.fact.auto_assign,
        families: Afi::ALL.into_iter().filter_map(counts).collect(),
        allocator: None,
        problems: Vec::new(),
    }
}
