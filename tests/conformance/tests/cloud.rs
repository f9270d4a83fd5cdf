//! The conformance of both clouds: the one in memory, and the one that ships against a moto server.

mod memory {
    use std::net::Ipv4Addr;

    use baton_cloud::MemoryCloud;
    use baton_cloud::memory::EndedAlready;
    use baton_conformance::cloud::{Difference, Node, World, access};
    use baton_protocol::access::TableAccess;
    use baton_protocol::ec2::RouteTarget;
    use baton_protocol::ids::{InstanceId, InterfaceId, RouteTableId, SubnetId, TableAssociationId};
    use baton_protocol::resource::{Address, Destination};

    /// The last: through what others reach what is made from here, if it is not the account's own.
    pub(super) struct InMemory(MemoryCloud, EndedAlready, Option<TableAccess>);

    impl World for InMemory {
        type Cloud = MemoryCloud;

        fn cloud(&self) -> &MemoryCloud {
            &self.0
        }

        /// The twin is EC2 as documented; it has no excuses, but that it refuses what EC2 has been seen to refuse.
        fn differs(&self, difference: Difference) -> bool {
            difference == Difference::EndedAlreadyRefused && self.1 == EndedAlready::Refuse
        }

        async fn vpc(&self, networks: &[&str]) -> String {
            let vpc = self.0.vpc(networks);
            if let Some(access) = &self.2 {
                self.0.share(&vpc, access);
            }
            vpc
        }

        async fn owner(&self) -> (TableAccess, Self) {
            (access(), Self(self.0.clone(), self.1, Some(access())))
        }

        async fn node_in(&self, shared: &str, zone: usize) -> Node {
            self.node(shared, zone).await
        }

        async fn node(&self, vpc: &str, zone: usize) -> Node {
            let zone = ["euw1-az1", "euw1-az2", "euw1-az3"][zone];
            let node = self.0.node(vpc, zone, 2);
            let private_ips = node.private_ips.try_into().expect("two, as asked");
            Node { instance: node.instance, zone: zone.to_owned(), interface: node.interface, private_ips }
        }

        async fn further(&self, vpc: &str, node: &Node) -> (InterfaceId, [Ipv4Addr; 2]) {
            let (interface, private_ips) = self.0.add_interface(vpc, 2);
            self.0.attach(&interface, &node.instance, 1, false);
            (interface, private_ips.try_into().expect("two, as asked"))
        }

        async fn address(&self) -> Address {
            self.0.address()
        }

        async fn table(&self, vpc: &str) -> RouteTableId {
            self.0.table(vpc)
        }

        async fn route_to_gateway(&self, _: &str, table: &RouteTableId, destination: &Destination) -> String {
            let gateway = "igw-0123456789abcdef0";
            self.0.put_route(table, &destination.to_string(), RouteTarget::Other(gateway.to_owned()));
            gateway.to_owned()
        }

        async fn subnet(&self, vpc: &str) -> SubnetId {
            self.0.subnet(vpc)
        }

        async fn associate(&self, subnet: &SubnetId, table: &RouteTableId) -> TableAssociationId {
            self.0.associate_table(subnet, table)
        }

        async fn disassociate(&self, association: &TableAssociationId) {
            self.0.end_table_association(association);
        }

        async fn tag(&self, id: &str, key: &str, value: &str) {
            match (SubnetId::new(id), RouteTableId::new(id), InstanceId::new(id)) {
                (Ok(subnet), ..) => self.0.tag_subnet(&subnet, key, value),
                (_, Ok(table), _) => self.0.tag_table(&table, key, Some(value)),
                (.., Ok(instance)) => self.0.tag(&instance, key, value),
                _ => self.0.tag_interface(&InterfaceId::new(id).expect("an interface"), key, value),
            }
        }

        async fn list(&self) -> Destination {
            Destination::new("pl-0123456789abcdef0").expect("an id")
        }

        async fn terminate(&self, instance: &InstanceId) {
            self.0.terminate(instance);
        }
    }

    fn world_where(ended_already: EndedAlready) -> InMemory {
        let cloud = MemoryCloud::new();
        cloud.set_ended_already(ended_already);
        InMemory(cloud, ended_already, None)
    }

    pub(super) async fn world() -> InMemory {
        world_where(EndedAlready::Refuse)
    }

    pub(super) async fn idempotent() -> InMemory {
        world_where(EndedAlready::Done)
    }

    baton_conformance::cloud_conformance!(world);
}

/// The twin once more, where ending an association that has ended is done and not refused.
mod memory_idempotent {
    baton_conformance::cloud_conformance!(super::memory::idempotent);
}

mod moto {
    use std::net::Ipv4Addr;
    use std::sync::LazyLock;

    use aws_sdk_ec2::Client;
    use aws_sdk_ec2::config::{Credentials, SharedCredentialsProvider};
    use aws_sdk_ec2::types::{DomainType, Tag};
    use baton_client::SdkConfig;
    use baton_cloud::Ec2Cloud;
    use baton_conformance::cloud::{Difference, MOTO, NETWORK, Node, World, access};
    use baton_conformance::engine::{PATIENT, REGION, config_at};
    use baton_protocol::access::TableAccess;
    use baton_protocol::ids::{
        AllocationId, InstanceId, InterfaceId, RouteTableId, SubnetId, TableAssociationId,
    };
    use baton_protocol::resource::{Address, Destination};
    use baton_sandbox::Moto;
    use tokio::sync::OnceCell;

    /// One server for all scenarios, each of which makes a part of the world for itself. It ends with this process.
    static SERVER: LazyLock<Moto> = LazyLock::new(|| Moto::start().expect("moto starts"));

    static IMAGE: OnceCell<String> = OnceCell::const_new();

    pub(super) struct AtMoto {
        cloud: Ec2Cloud,
        /// The SDK itself, for what Baton never asks of EC2.
        ec2: Client,
        config: SdkConfig,
    }

    fn text(field: Option<&str>) -> String {
        field.expect("moto names what it made").to_owned()
    }

    impl AtMoto {
        async fn subnet(&self, vpc: &str, zone: &str) -> String {
            let third = zone.bytes().last().expect("a zone has a letter") - b'a';
            let request = self.ec2.create_subnet().vpc_id(vpc).availability_zone(zone);
            let made = request.cidr_block(format!("10.0.{third}.0/24")).send().await.expect("a subnet");
            text(made.subnet().and_then(|subnet| subnet.subnet_id()))
        }

        /// The private addresses of an interface that has been made with this one, and is given a second.
        async fn two_addresses(&self, id: &str, primary: Option<&str>) -> [Ipv4Addr; 2] {
            // Where moto may choose, it takes the network's own address now and then, which AWS keeps for itself.
            let primary: Ipv4Addr = text(primary).parse().expect("an address");
            let [a, b, c, last] = primary.octets();
            let second = Ipv4Addr::new(a, b, c, if last < 150 { last + 100 } else { last - 100 });
            let request = self.ec2.assign_private_ip_addresses().network_interface_id(id);
            let request = request.private_ip_addresses(second.to_string());
            request.send().await.expect("a second private address");
            let seen = self.ec2.describe_network_interfaces().network_interface_ids(id).send().await;
            let seen = seen.expect("described");
            let seats = seen.network_interfaces().first().expect("just made").private_ip_addresses();
            let ip = |primary| {
                let seat = seats.iter().find(|seat| seat.primary() == Some(primary)).expect("one of each");
                text(seat.private_ip_address()).parse().expect("an address")
            };
            [ip(true), ip(false)]
        }

        /// Any image will do. The answer names hundreds and is slow, so one scenario asks for all.
        async fn image(&self) -> &'static str {
            IMAGE
                .get_or_init(|| async {
                    let images = self.ec2.describe_images().owners("amazon").send().await.expect("images");
                    text(images.images().first().and_then(|image| image.image_id()))
                })
                .await
        }
    }

    impl World for AtMoto {
        type Cloud = Ec2Cloud;

        fn cloud(&self) -> &Ec2Cloud {
            &self.cloud
        }

        fn differs(&self, difference: Difference) -> bool {
            MOTO.iter().any(|(known, _)| *known == difference)
        }

        async fn vpc(&self, networks: &[&str]) -> String {
            let (first, others) = networks.split_first().expect("a VPC has a network");
            let made = self.ec2.create_vpc().cidr_block(*first).send().await.expect("a VPC");
            let id = text(made.vpc().and_then(|vpc| vpc.vpc_id()));
            for other in others {
                let request = self.ec2.associate_vpc_cidr_block().vpc_id(&id).cidr_block(*other);
                request.send().await.expect("another network");
            }
            id
        }

        /// moto gives credentials of the account that the role names, to whoever asks.
        async fn owner(&self) -> (TableAccess, Self) {
            let request = aws_sdk_sts::Client::new(&self.config).assume_role().role_session_name("owner");
            let given = request.role_arn(access().role.as_str()).send().await.expect("credentials");
            let given = given.credentials().expect("credentials");
            let token = Some(given.session_token().to_owned());
            let (key, secret) = (given.access_key_id(), given.secret_access_key());
            let credentials =
                SharedCredentialsProvider::new(Credentials::new(key, secret, token, None, "owner"));
            let config = self.config.clone().into_builder().credentials_provider(credentials).build();
            (access(), Self { cloud: Ec2Cloud::new(&config), ec2: Client::new(&config), config })
        }

        /// moto has no subnets that are shared, and does not mind of which VPC an interface is.
        async fn node_in(&self, _: &str, zone: usize) -> Node {
            self.node(&self.vpc(&[NETWORK]).await, zone).await
        }

        async fn node(&self, vpc: &str, zone: usize) -> Node {
            let zone = format!("{REGION}{}", ["a", "b", "c"][zone]);
            let (subnet, image) = (self.subnet(vpc, &zone).await, self.image().await);
            let request =
                self.ec2.run_instances().image_id(image).subnet_id(subnet).min_count(1).max_count(1);
            let made = request.send().await.expect("an instance");
            let made = made.instances().first().expect("one, as asked");
            let interface = made.network_interfaces().first().expect("a primary interface");
            let id = text(interface.network_interface_id());
            let private_ips = self.two_addresses(&id, interface.private_ip_address()).await;
            Node {
                instance: InstanceId::new(text(made.instance_id())).expect("an instance id"),
                zone,
                interface: InterfaceId::new(id).expect("an interface id"),
                private_ips,
            }
        }

        async fn further(&self, _: &str, node: &Node) -> (InterfaceId, [Ipv4Addr; 2]) {
            let id = node.interface.as_str();
            let seen = self.ec2.describe_network_interfaces().network_interface_ids(id).send().await;
            let subnet = text(seen.expect("described").network_interfaces()[0].subnet_id());
            let made =
                self.ec2.create_network_interface().subnet_id(subnet).send().await.expect("an interface");
            let made = made.network_interface().expect("made");
            let id = text(made.network_interface_id());
            let private_ips = self.two_addresses(&id, made.private_ip_address()).await;
            let attach = self.ec2.attach_network_interface().network_interface_id(&id).device_index(1);
            attach.instance_id(node.instance.as_str()).send().await.expect("attached");
            (InterfaceId::new(id).expect("an interface id"), private_ips)
        }

        async fn address(&self) -> Address {
            let made = self.ec2.allocate_address().domain(DomainType::Vpc).send().await.expect("an address");
            Address {
                allocation: AllocationId::new(text(made.allocation_id())).expect("an allocation id"),
                public_ip: text(made.public_ip()).parse().expect("an address"),
            }
        }

        async fn table(&self, vpc: &str) -> RouteTableId {
            let made = self.ec2.create_route_table().vpc_id(vpc).send().await.expect("a table");
            let id = text(made.route_table().and_then(|table| table.route_table_id()));
            RouteTableId::new(id).expect("a table id")
        }

        async fn route_to_gateway(
            &self,
            vpc: &str,
            table: &RouteTableId,
            destination: &Destination,
        ) -> String {
            let made = self.ec2.create_internet_gateway().send().await.expect("a gateway");
            let id = text(made.internet_gateway().and_then(|gateway| gateway.internet_gateway_id()));
            let attach = self.ec2.attach_internet_gateway().internet_gateway_id(&id).vpc_id(vpc);
            attach.send().await.expect("attached");
            let request = self.ec2.create_route().route_table_id(table.as_str()).gateway_id(&id);
            request.destination_cidr_block(destination.to_string()).send().await.expect("a route");
            id
        }

        async fn subnet(&self, vpc: &str) -> SubnetId {
            let request = self.ec2.create_subnet().vpc_id(vpc).cidr_block("10.0.200.0/24");
            let made = request.send().await.expect("a subnet");
            SubnetId::new(text(made.subnet().and_then(|subnet| subnet.subnet_id()))).expect("a subnet id")
        }

        async fn associate(&self, subnet: &SubnetId, table: &RouteTableId) -> TableAssociationId {
            let request = self.ec2.associate_route_table().subnet_id(subnet.as_str());
            let made = request.route_table_id(table.as_str()).send().await.expect("associated");
            TableAssociationId::new(text(made.association_id())).expect("an association id")
        }

        async fn disassociate(&self, association: &TableAssociationId) {
            let request = self.ec2.disassociate_route_table().association_id(association.as_str());
            request.send().await.expect("disassociated");
        }

        async fn tag(&self, id: &str, key: &str, value: &str) {
            let tag = Tag::builder().key(key).value(value).build();
            self.ec2.create_tags().resources(id).tags(tag).send().await.expect("tagged");
        }

        async fn list(&self) -> Destination {
            let request = self.ec2.create_managed_prefix_list().prefix_list_name("clients").max_entries(2);
            let made = request.address_family("IPv4").send().await.expect("a prefix list");
            let id = text(made.prefix_list().and_then(|list| list.prefix_list_id()));
            Destination::new(&id).expect("an id")
        }

        /// moto terminates at once.
        async fn terminate(&self, instance: &InstanceId) {
            self.ec2.terminate_instances().instance_ids(instance.as_str()).send().await.expect("terminated");
        }
    }

    pub(super) async fn world() -> AtMoto {
        // The server is started outside the runtime's threads, since the first start may install it.
        let endpoint = tokio::task::spawn_blocking(|| SERVER.endpoint()).await.expect("moto starts");
        let config = config_at(&endpoint, PATIENT).await;
        AtMoto { cloud: Ec2Cloud::new(&config), ec2: Client::new(&config), config }
    }

    baton_conformance::cloud_conformance!(world);

    #[test]
    fn each_known_difference_is_listed_once_and_argued() {
        for (place, (difference, argument)) in MOTO.iter().enumerate() {
            assert!(argument.len() > 40, "{difference:?} is argued");
            assert!(
                MOTO[..place].iter().all(|(earlier, _)| earlier != difference),
                "{difference:?} is listed twice"
            );
        }
    }
}

mod both {
    use std::cell::RefCell;

    use baton_conformance::cloud::random::operation::{Act, sequences};
    use baton_conformance::cloud::random::{MET, Met, agree};
    use baton_conformance::sequences::{fixed, fresh, run};

    /// Sequences that never change, which have to meet everything in [`MET`].
    const FIXED: u32 = 24;

    /// Sequences that are others each time. `PROPTEST_CASES` asks for more.
    const FRESH: u32 = 4;

    /// Seeds of sequences that failed once. Each is tried again for ever, so a file that appears here is committed.
    const FAILED_ONCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/cloud.txt");

    #[test]
    fn both_clouds_agree_on_random_sequences() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let (refusing, idempotent) =
            runtime.block_on(async { (super::memory::world().await, super::memory::idempotent().await) });
        let server = runtime.block_on(super::moto::world());
        let met = RefCell::new(Met::new());
        let case = |acts: Vec<Act>| {
            // By the sequence alone, so that a seed that failed once is the same case for ever.
            let twin = if acts.len().is_multiple_of(2) { &refusing } else { &idempotent };
            met.borrow_mut().extend(runtime.block_on(agree(twin, &server, &acts))?);
            Ok(())
        };
        run(fixed(FIXED), &sequences(), case);
        let missing: Vec<_> = MET.iter().filter(|expected| !met.borrow().contains(**expected)).collect();
        assert!(missing.is_empty(), "the sequences do not meet {missing:?}, but {:?}", met.borrow());
        run(fresh(FRESH, FAILED_ONCE), &sequences(), case);
    }
}
